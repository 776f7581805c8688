//! Evaluation and training.

use std::fmt;

/// The use of a model, `eval()` and `train()` of a module in PyTorch: [`Placed::set_mode`](crate::Placed::set_mode).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Dropout does nothing.
    #[default]
    Evaluation,
    /// Dropout acts. Every call has masks of its own, and so has every layer; the same seed gives the same sequence of
    /// them, on the CPU and on a GPU. The numbers are not those that PyTorch draws. Calls of several threads draw in
    /// the order in which they come.
    Training {
        /// The number that the masks of all calls follow from.
        seed: u64,
    },
}

/// "evaluation" or "training, seed 7".
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evaluation => f.write_str("evaluation"),
            Self::Training { seed } => write!(f, "training, seed {seed}"),
        }
    }
}
