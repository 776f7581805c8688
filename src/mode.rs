//! Evaluation and training.

use std::fmt;

/// The mode of a model, `eval()` or `train()` of a module in PyTorch: [`Placed::set_mode`](crate::Placed::set_mode).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Dropout does nothing.
    #[default]
    Evaluation,
    /// Dropout acts. Every call and every layer has its own masks; the same seed gives the same sequence of masks, on
    /// the CPU and on a GPU. The numbers are not those that PyTorch draws. Calls from several threads draw masks in the
    /// order in which they arrive.
    Training {
        /// The seed of the masks of all calls.
        seed: u64,
    },
}

/// Writes "evaluation" or "training, seed 7".
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evaluation => f.write_str("evaluation"),
            Self::Training { seed } => write!(f, "training, seed {seed}"),
        }
    }
}
