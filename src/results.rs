//! Results that were read back, rearranged for the caller.

use crate::call::{Call, Results};
use crate::config::RecurrentConfig;
use crate::error::Result;
use crate::extents::RowStride;
use crate::real::Real;

/// The results of a forward, as flat arrays.
pub(crate) struct Computed<F> {
    pub(crate) output: Vec<F>,
    /// The last states, h first.
    pub(crate) states: Vec<Vec<F>>,
    /// The states after every step, if requested.
    pub(crate) all: Vec<Vec<F>>,
}

/// Arranges output and states from what a GPU has read back, see [`Program::results`](crate::plan::program::Program::results).
pub(crate) fn arrange<F: Real>(config: &RecurrentConfig, call: &Call, arrays: Vec<Vec<F>>) -> Result<Computed<F>> {
    let mut arrays = arrays.into_iter();
    let output = match call.task.results {
        Results::Output | Results::OutputAndStates | Results::Training => arrays.next().unwrap_or_default(),
        Results::OnDevice | Results::StatesOnDevice | Results::RecordedTraining | Results::States => Vec::new(),
    };
    let mut states: Vec<Vec<F>> = arrays.by_ref().take(config.cell.states().len()).collect();
    let mut all = Vec::new();
    if call.task.all_states {
        all.push(all_h(config, call, &arrays.collect::<Vec<_>>(), &output)?);
        // The array has c of all steps instead of the last one.
        for state in states.iter_mut().skip(1) {
            let (of_all_steps, last) = all_c(config, call, state)?;
            all.push(of_all_steps);
            *state = last;
        }
    }
    Ok(Computed { output, states, all })
}

/// Returns h `[L·D, T, B, P]` from the output of each layer: `[T, B, D·P]`, the last in the user's order.
fn all_h<F: Real>(config: &RecurrentConfig, call: &Call, between: &[Vec<F>], output: &[F]) -> Result<Vec<F>> {
    let extents = call.extents();
    let (size, directions) = (config.recurrent_size(), config.directions());
    let mut all = call.padded_states(config, 0)?;
    for (index, target) in all.chunks_exact_mut(extents.rows() * size).enumerate() {
        let (layer, d) = (index / directions, index % directions);
        let y = between.get(layer).map_or(output, Vec::as_slice);
        let (_, RowStride { time, batch }) = extents.layer_rows(layer, config.num_layers);
        for (row, target) in target.chunks_exact_mut(size).enumerate() {
            let (t, b) = (row / extents.batch, row % extents.batch);
            let at = ((t * time + b * batch) * directions + d) * size;
            target.copy_from_slice(&y[at..at + size]);
        }
    }
    Ok(all)
}

/// Returns c `[L·D, T, B, H]` and its last step, from c before and after each step: `[L, T + 1, D, B, H]`.
fn all_c<F: Real>(config: &RecurrentConfig, call: &Call, steps: &[F]) -> Result<(Vec<F>, Vec<F>)> {
    let extents = call.extents();
    let (size, directions, batch) = (config.hidden_size, config.directions(), extents.batch);
    let after = |index: usize, step: usize, b: usize| {
        let (layer, d) = (index / directions, index % directions);
        let at = (((layer * (extents.time_steps + 1) + step) * directions + d) * batch + b) * size;
        &steps[at..at + size]
    };
    let mut all = call.padded_states(config, 1)?;
    let mut last = Vec::with_capacity(config.layers_and_directions() * batch * size);
    for (index, target) in all.chunks_exact_mut(extents.rows() * size).enumerate() {
        for b in 0..batch {
            for step in 0..call.length(b) {
                let row = call.time_of(step, index % directions, b) * batch + b;
                target[row * size..(row + 1) * size].copy_from_slice(after(index, step + 1, b));
            }
            last.extend_from_slice(after(index, call.length(b), b));
        }
    }
    Ok((all, last))
}
