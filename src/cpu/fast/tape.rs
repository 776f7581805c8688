//! What a forward of the vector path leaves for its backward.

use crate::call::Call;
use crate::cpu::fast::part::Part;
use crate::cpu::fast::pool::Pool;
use crate::error::Result;
use crate::memory::copied;

/// The values of a forward that its backward needs, except its output.
#[derive(Debug)]
pub(crate) struct FastTape {
    pub(crate) call: Call,
    pub(super) input: Vec<f32>,
    /// The initial states, h first: each `[L·D, B, ·]`.
    pub(super) initial: Vec<Vec<f32>>,
    /// The outputs of the layers below the last, `[T, B, D·P]`.
    pub(super) between: Vec<Vec<f32>>,
    /// The workers of each layer, whose arrays hold what the cell saved.
    pub(super) layers: Vec<Vec<Part>>,
}

impl FastTape {
    /// Creates the tape of a forward that has not run yet.
    pub(super) fn new(pool: &Pool, call: &Call, input: &[f32], initial: &[Vec<f32>]) -> Result<Self> {
        Ok(Self {
            call: call.clone(),
            input: pool.copy("the input", input)?,
            initial: initial.iter().map(|state| copied("an initial state", state)).collect::<Result<_>>()?,
            between: Vec::new(),
            layers: Vec::new(),
        })
    }

    /// Gives back the large arrays.
    pub(super) fn give_back(self, pool: &Pool) {
        pool.give([self.input]);
        for part in self.layers.into_iter().flatten() {
            pool.give([part.gx, part.extra].into_iter().chain(part.all_c));
        }
    }
}
