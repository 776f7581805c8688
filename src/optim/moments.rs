//! What an optimiser keeps for a parameter between its steps.

use crate::error::Result;
use crate::memory::copied;
use crate::real::Real;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Moments<F> {
    /// The number of steps so far.
    pub(super) step: u64,
    /// Each of the parameter's size; [`Rule::arrays`](super::rule::Rule::arrays) names them.
    pub(super) arrays: Vec<Vec<F>>,
}

impl<F: Real> Moments<F> {
    pub(super) fn try_clone(&self) -> Result<Self> {
        let arrays = self.arrays.iter().map(|array| copied("a moment", array)).collect::<Result<_>>()?;
        Ok(Self { step: self.step, arrays })
    }
}
