//! States that stay with the model from call to call. The GPU twin is gpu/session.rs.

use std::ops::Range;
use std::slice::from_ref;
use std::sync::Arc;

use crate::call::Call;
use crate::cpu::CpuModel;
use crate::error::Result;
use crate::memory::zeroed;
use crate::real::Real;

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

    /// h of the first `rows` rows, of a model of one layer and direction: an array that another model can read.
    pub(crate) fn h(&self, rows: usize) -> &[F] {
        &self.states[0][..rows * self.model.config.recurrent_size()]
    }

    /// Moves the states of the call's rows on, and gives the output.
    pub(crate) fn push(&mut self, call: &Call, input: &[F]) -> Result<Vec<F>> {
        self.model.forward(call, input, &mut self.states).map(|(output, _)| output)
    }

    /// The states of some rows, one range behind the other: each `[L·D, rows, ·]`.
    pub(crate) fn read(&self, rows: &[Range<usize>]) -> Result<Vec<Vec<F>>> {
        let config = &self.model.config;
        let layers = config.layers_and_directions();
        let count = rows.iter().map(Range::len).sum();
        let read = |(s, state): (usize, &Vec<F>)| {
            let size = config.state_size(s);
            let mut array = zeroed("states", &[layers, count, size])?;
            let mut at = 0;
            for layer in state.chunks_exact((self.count * size).max(1)) {
                for range in rows {
                    let end = at + range.len() * size;
                    array[at..end].copy_from_slice(&layer[range.start * size..range.end * size]);
                    at = end;
                }
            }
            Ok(array)
        };
        self.states.iter().enumerate().map(read).collect()
    }

    /// Sets the states of some rows, one range behind the other: each `[L·D, rows, ·]`; zeros if `None`.
    pub(crate) fn write(&mut self, rows: &[Range<usize>], states: Option<&[&[F]]>) {
        for (s, state) in self.states.iter_mut().enumerate() {
            let size = self.model.config.state_size(s);
            let mut at = 0;
            for layer in state.chunks_exact_mut((self.count * size).max(1)) {
                for range in rows {
                    let (target, end) = (&mut layer[range.start * size..range.end * size], at + range.len() * size);
                    match states {
                        Some(states) => target.copy_from_slice(&states[s][at..end]),
                        None => target.fill(F::zero()),
                    }
                    at = end;
                }
            }
        }
    }

    /// Makes room for `count` rows; those that are there keep their states, new ones have zeros.
    pub(crate) fn grow(&mut self, count: usize) -> Result<()> {
        let mut grown = Self::new(&self.model, count)?;
        let all = 0..self.count;
        let states = self.read(from_ref(&all))?;
        grown.write(from_ref(&all), Some(&states.iter().map(Vec::as_slice).collect::<Vec<_>>()));
        *self = grown;
        Ok(())
    }
}
