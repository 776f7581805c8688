//! What a forward leaves for its backward.

use crate::call::Call;
use crate::config::RecurrentConfig;
use crate::error::Result;
use crate::memory::{copied, zeroed};
use crate::real::Real;

/// The values of a forward that its backward needs, except its output.
#[derive(Debug)]
pub(crate) struct Tape<F> {
    pub(crate) call: Call,
    pub(super) input: Vec<F>,
    /// The initial states, h first: each `[L·D, B, ·]`.
    pub(super) initial: Vec<Vec<F>>,
    /// The outputs of the layers below the last, `[T, B, D·P]`.
    pub(super) between: Vec<Vec<F>>,
    /// Index: layer·D + direction.
    pub(super) saved: Vec<Saved<F>>,
}

/// The values of one layer and direction, step by step. Those past the end of a row are zero.
#[derive(Debug)]
pub(super) struct Saved<F> {
    /// What the cell saves, `[T, B, saved, H]`.
    pub(super) gates: Vec<F>,
    /// c after each step, if the cell has it: `[T, B, H]`.
    pub(super) c: Vec<F>,
}

impl<F: Real> Tape<F> {
    /// Creates the tape of a forward that has not run yet.
    pub(super) fn new(config: &RecurrentConfig, call: &Call, input: &[F], initial: &[Vec<F>]) -> Result<Self> {
        let (rows, hidden) = (call.extents().rows(), config.hidden_size);
        let carried = config.cell.states().len() - 1;
        let saved = |_| {
            Ok(Saved {
                gates: zeroed("the saved gates", &[rows, config.cell.saved(), hidden])?,
                c: zeroed("c of every step", &[rows * carried, hidden])?,
            })
        };
        Ok(Self {
            call: call.clone(),
            input: copied("the input", input)?,
            initial: initial.iter().map(|state| copied("an initial state", state)).collect::<Result<_>>()?,
            between: Vec::new(),
            saved: (0..config.layers_and_directions()).map(saved).collect::<Result<_>>()?,
        })
    }

    /// Saves the values of a row and unit at a step.
    pub(super) fn save(&mut self, config: &RecurrentConfig, index: usize, row: usize, u: usize, saved: &[F]) {
        let first = row * config.cell.saved() * config.hidden_size + u;
        for (at, &value) in (first..).step_by(config.hidden_size).zip(saved) {
            self.saved[index].gates[at] = value;
        }
    }
}
