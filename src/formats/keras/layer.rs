//! What a file says about a recurrent layer apart from its weights.

use crate::activation::Activation;
use crate::error::Error;

/// The cell of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Lstm,
    Gru,
    SimpleRnn,
}

impl Kind {
    /// Returns the number of gates: the kernels have that many times the units as columns.
    pub(crate) fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
            Self::SimpleRnn => 1,
        }
    }

    /// Returns the kind that has this many columns for its units.
    pub(super) fn from_sizes(columns: usize, units: usize) -> Option<Self> {
        let fits = |kind: &Self| units > 0 && units.checked_mul(kind.gates()) == Some(columns);
        [Self::Lstm, Self::Gru, Self::SimpleRnn].into_iter().find(fits)
    }
}

/// How a Bidirectional layer makes one output of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    Concat,
    Sum,
    Mul,
    Ave,
}

/// One direction of a layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KerasDirection {
    pub(crate) use_bias: bool,
    /// For a GRU: the reset gate applies to the recurrent product, as in PyTorch, not to the state before it.
    pub(crate) reset_after: bool,
    /// Steps are taken from the last to the first. The output of a layer alone stays in the order of the steps; that of
    /// a Bidirectional layer's second direction is turned around again.
    pub(crate) go_backwards: bool,
    /// The weights are those of a CuDNNLSTM or CuDNNGRU.
    pub(crate) cudnn: bool,
    /// The activation, or the name of one that cannot run.
    pub(crate) activation: Result<Activation, String>,
    /// The gates' activation; a SimpleRNN has no use for it.
    pub(crate) recurrent_activation: Result<Activation, String>,
}

/// A recurrent layer of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KerasLayer {
    /// The layer's name, that of the wrapper for a Bidirectional one. Where two layers of nested models have the same
    /// name, the names of the models come before it: `encoder/lstm`.
    pub(crate) name: String,
    /// `None` if the file does not tell.
    pub(crate) kind: Option<Kind>,
    /// `None` if the weights were not found; loading says why.
    pub(crate) input_size: Option<usize>,
    pub(crate) units: Option<usize>,
    pub(crate) bidirectional: bool,
    /// For a bidirectional layer; `None` stands for two outputs.
    pub(crate) merge: Option<Merge>,
    /// The layer, or its forward and its backward direction. Never empty.
    pub(crate) directions: Vec<KerasDirection>,
    pub(crate) return_sequences: bool,
    pub(crate) stateful: bool,
    /// Input and output are `[T, B, ...]`.
    pub(crate) time_major: bool,
    /// Outputs of masked steps are zero instead of repeating the last one.
    pub(crate) zero_output_for_mask: bool,
    /// The model has a Masking layer or an Embedding with mask_zero.
    pub(crate) masking: bool,
    /// The file has no config.
    pub(crate) weights_only: bool,
    /// What the file leaves open, and what was assumed.
    pub(crate) notes: Vec<String>,
    pub(super) rejection: Option<Rejection>,
}

impl KerasLayer {
    /// Returns whether steps are taken from the last to the first, in the forward direction of a bidirectional layer.
    pub(crate) fn go_backwards(&self) -> bool {
        self.directions.first().is_some_and(|direction| direction.go_backwards)
    }
}

/// A layer that is listed but cannot be loaded.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rejection {
    pub(super) what: String,
    pub(super) why: String,
}

impl Rejection {
    pub(super) fn error(&self) -> Error {
        Error::Unsupported { what: self.what.clone(), why: self.why.clone() }
    }
}
