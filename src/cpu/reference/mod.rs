//! The reference path: the same stages as on the GPU, one file each, simple enough to be read as the definition.
//!
//! In f64, every result is tested against it. In f32, it runs on machines without vectors.

mod backward;
mod cell;
mod input_product;
mod step;
mod tape;

use crate::call::Call;
use crate::config::RecurrentConfig;
use crate::cpu::plan::CpuPlan;
use crate::cpu::reference::step::DirectionWeights;
pub(crate) use crate::cpu::reference::tape::Tape;
use crate::cpu::rows::gather;
use crate::dropout::Dropout;
use crate::error::Result;
use crate::extents::{Extents, RowStride};
use crate::gradients::{Derived, Given};
use crate::memory::zeroed;
use crate::plan::GX_BUDGET;
use crate::real::Real;
use crate::weights::LayerWeights;

/// A model whose weights are laid out for the CPU.
#[derive(Clone, Debug)]
pub(crate) struct ReferenceModel<F> {
    config: RecurrentConfig,
    /// Index: layer·D + direction.
    layers: Vec<DirectionWeights<F>>,
}

/// One (layer, direction) of a forward.
struct Pass<'a, F> {
    layer: usize,
    direction: usize,
    x: &'a [F],
    x_rows: RowStride,
    y_rows: RowStride,
}

impl<F: Real> ReferenceModel<F> {
    pub(crate) fn new(config: &RecurrentConfig, layers: &[LayerWeights<F>]) -> Result<Self> {
        let pack = |(index, w)| DirectionWeights::pack(config, index % config.directions(), w);
        let layers = layers.iter().enumerate().map(pack).collect::<Result<_>>()?;
        Ok(Self { config: config.clone(), layers })
    }

    /// Plans a forward of this shape.
    pub(crate) fn plan(&self, extents: &Extents) -> CpuPlan {
        let is_f32 = size_of::<F>() == size_of::<f32>();
        CpuPlan {
            config: self.config.clone(),
            extents: *extents,
            instruction_set: "reference path",
            available_threads: 1,
            threads: 1,
            tile_units: 1,
            tile_rows: 1,
            chunk_steps: self.chunk_steps(extents),
            why: match (is_f32, self.config.form.is_plain()) {
                (false, _) => "f64 is the oracle",
                (true, false) => "the form is not one of PyTorch's",
                (true, true) => "this machine has no vectors wide enough",
            },
        }
    }

    fn chunk_steps(&self, extents: &Extents) -> usize {
        let step_bytes = extents.batch.saturating_mul(self.config.gate_rows() * size_of::<F>()).max(1);
        (GX_BUDGET as usize / step_bytes).clamp(1, extents.time_steps.max(1))
    }

    /// Runs a forward, as [`CpuModel::forward`](super::CpuModel::forward) specifies.
    pub(crate) fn forward(&self, call: &Call, input: &[F], states: &mut [Vec<F>]) -> Result<(Vec<F>, Vec<Vec<F>>)> {
        self.forward_with(call, input, states, None)
    }

    /// Runs a forward that leaves a tape for its backward, and returns its output.
    pub(crate) fn forward_train(&self, call: &Call, input: &[F], states: &mut [Vec<F>]) -> Result<(Vec<F>, Tape<F>)> {
        let mut tape = Tape::new(&self.config, call, input, states)?;
        let (output, _) = self.forward_with(call, input, states, Some(&mut tape))?;
        Ok((output, tape))
    }

    /// Runs the backward of a forward that gave `output`. `weights` are those of the model.
    pub(crate) fn backward(
        config: &RecurrentConfig,
        weights: &[LayerWeights<F>],
        tape: &Tape<F>,
        output: &[F],
        given: &Given<'_, F>,
    ) -> Result<Derived<F>> {
        backward::backward(config, weights, tape, output, given)
    }

    fn forward_with(
        &self,
        call: &Call,
        input: &[F],
        states: &mut [Vec<F>],
        mut tape: Option<&mut Tape<F>>,
    ) -> Result<(Vec<F>, Vec<Vec<F>>)> {
        let (config, extents) = (&self.config, call.extents());
        let wanted = if call.task.all_states { config.cell.states().len() } else { 0 };
        let mut all = (0..wanted).map(|s| call.padded_states(config, s)).collect::<Result<Vec<_>>>()?;
        let mut x: Option<Vec<F>> = None;
        for layer in 0..config.num_layers {
            let (x_rows, y_rows) = extents.layer_rows(layer, config.num_layers);
            let mut y = zeroed("the output of a layer", &[extents.rows(), config.output_size()])?;
            for direction in 0..config.directions() {
                let pass = Pass { layer, direction, x: x.as_deref().unwrap_or(input), x_rows, y_rows };
                self.run(call, &pass, states, &mut y, &mut all, tape.as_deref_mut())?;
            }
            if let (Some(x), Some(tape)) = (x.replace(y), &mut tape) {
                tape.between.push(x);
            }
        }
        Ok((x.unwrap_or_default(), all))
    }

    /// Runs one direction of one layer over the whole sequence, chunk by chunk.
    fn run<'a>(
        &self,
        call: &Call,
        pass: &Pass<'_, F>,
        states: &'a mut [Vec<F>],
        y: &mut [F],
        all: &mut [Vec<F>],
        mut tape: Option<&mut Tape<F>>,
    ) -> Result<()> {
        let (config, extents) = (&self.config, call.extents());
        let (batch, width, features) = (extents.batch, config.recurrent_size(), config.layer_input_size(pass.layer));
        let index = pass.layer * config.directions() + pass.direction;
        let weights = &self.layers[index];
        let of_direction = |state: &'a mut Vec<F>| {
            let size = state.len() / config.layers_and_directions();
            &mut state[index * size..(index + 1) * size]
        };
        let mut states: Vec<&mut [F]> = states.iter_mut().map(of_direction).collect();

        let chunk_steps = self.chunk_steps(extents);
        let dropout = call.dropout_key(pass.layer).map(|key| (Dropout::new(config.dropout), key));
        let mut scratch = step::Scratch::new(config)?;
        for first in (0..extents.time_steps).step_by(chunk_steps) {
            let steps = chunk_steps.min(extents.time_steps - first);
            let time_of = |s: usize, b: usize| call.time_of(first + s, pass.direction, b);
            let x_row = |row: usize| {
                Some(time_of(row / batch, row % batch) * pass.x_rows.time + row % batch * pass.x_rows.batch)
            };
            let gathered = gather(pass.x, features, steps * batch, x_row, dropout)?;
            let gx = input_product::input_product(weights, &gathered, features)?;
            for s in 0..steps {
                let gx = &gx[s * batch * config.gate_rows()..(s + 1) * batch * config.gate_rows()];
                let active = |b: usize| first + s < call.length(b);
                let state_row = |b: usize| active(b).then(|| call.state_row(b));
                let row_of = |b: usize| (first + s) * batch + b;
                step::step(config, weights, gx, &mut states, &mut scratch, state_row, |b, u, saved| {
                    if let Some(tape) = &mut tape {
                        tape.save(config, index, row_of(b), u, saved);
                    }
                });
                if let (Some(tape), Some(c)) = (&mut tape, states.get(1)) {
                    let size = config.hidden_size;
                    for b in (0..batch).filter(|&b| active(b)) {
                        let row = row_of(b);
                        let from = call.state_row(b) * size;
                        tape.saved[index].c[row * size..(row + 1) * size].copy_from_slice(&c[from..from + size]);
                    }
                }
                for b in 0..batch {
                    let (time, state_row) = (time_of(s, b), call.state_row(b));
                    let at = (time * pass.y_rows.time + b * pass.y_rows.batch) * config.output_size()
                        + pass.direction * width;
                    if !active(b) {
                        y[at..at + width].fill(F::from_f64(call.padding_value));
                        continue;
                    }
                    y[at..at + width].copy_from_slice(&states[0][state_row * width..(state_row + 1) * width]);
                    let row = (index * extents.time_steps + time) * batch + b;
                    for (s, (all, state)) in all.iter_mut().zip(&states).enumerate() {
                        let size = config.state_size(s);
                        all[row * size..(row + 1) * size]
                            .copy_from_slice(&state[state_row * size..(state_row + 1) * size]);
                    }
                }
            }
        }
        Ok(())
    }
}
