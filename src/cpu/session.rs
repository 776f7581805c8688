//! States that stay with the model from call to call. The GPU twin is gpu/session.rs.

use std::ops::Range;
use std::sync::Arc;

use crate::call::Call;
use crate::cpu::CpuModel;
use crate::tensor::zeroed;
use crate::{Real, Result};

/// The states of many rows.
#[derive(Debug)]
pub(crate) struct CpuSession<F> {
    model: Arc<CpuModel<F>>,
    /// each `[L·D, count, ·]`, h first
    states: Vec<Vec<F>>,
    count: usize,
}

impl<F: Real> CpuSession<F> {
    /// Zero states.
    pub(crate) fn new(model: &Arc<CpuModel<F>>, count: usize) -> Result<Self> {
        let config = &model.config;
        let layers = config.layers_and_directions();
        let names = config.cell.states().iter().enumerate();
        let states = names.map(|(s, name)| zeroed(name.last, &[layers, count, config.state_size(s)]));
        Ok(Self { model: Arc::clone(model), states: states.collect::<Result<_>>()?, count })
    }

    pub(crate) fn is_of(&self, model: &Arc<CpuModel<F>>) -> bool {
        Arc::ptr_eq(&self.model, model)
    }

    /// Moves the states of the call's rows on, and gives the output.
    pub(crate) fn push(&mut self, call: &Call, input: &[F]) -> Result<Vec<F>> {
        self.model.forward(call, input, &mut self.states).map(|(output, _)| output)
    }

    /// The states of a range of rows: each `[L·D, rows, ·]`.
    pub(crate) fn read(&self, rows: Range<usize>) -> Vec<Vec<F>> {
        let of_layer = |layer: &[F]| {
            let size = layer.len() / self.count;
            layer[rows.start * size..rows.end * size].to_vec()
        };
        self.states.iter().map(|state| self.layers(state).flat_map(of_layer).collect()).collect()
    }

    /// Sets the states of a range of rows: each `[L·D, rows, ·]`; zeros if `None`.
    pub(crate) fn write(&mut self, rows: Range<usize>, states: Option<&[&[F]]>) {
        let layers = self.model.config.layers_and_directions();
        for (s, state) in self.states.iter_mut().enumerate() {
            let layer_size = state.len() / layers;
            let row_size = layer_size / self.count;
            let size = rows.len() * row_size;
            for (n, layer) in state.chunks_exact_mut(layer_size.max(1)).enumerate() {
                let target = &mut layer[rows.start * row_size..rows.end * row_size];
                match states {
                    Some(states) => target.copy_from_slice(&states[s][n * size..(n + 1) * size]),
                    None => target.fill(F::zero()),
                }
            }
        }
    }

    /// Makes room for `count` rows; those that are there keep their states, new ones have zeros.
    pub(crate) fn grow(&mut self, count: usize) -> Result<()> {
        let mut grown = Self::new(&self.model, count)?;
        let states = self.read(0..self.count);
        grown.write(0..self.count, Some(&states.iter().map(Vec::as_slice).collect::<Vec<_>>()));
        *self = grown;
        Ok(())
    }

    fn layers<'a>(&self, state: &'a [F]) -> impl Iterator<Item = &'a [F]> + use<'a, F> {
        let layers = self.model.config.layers_and_directions();
        state.chunks_exact((state.len() / layers).max(1))
    }
}
