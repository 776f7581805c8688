//! What a layer computes differently from PyTorch's: the options of ONNX's recurrent operators.

use crate::activation::Activation;
use crate::cell_kind::{CellKind, Nonlinearity};
use crate::error::{Error, Result};

/// The options of ONNX's operators that PyTorch's layers lack. The default is PyTorch's form.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Form {
    /// ONNX's `activations`: f, g and h of an LSTM, f and g of a GRU, f of an RNN, once for all directions or for one
    /// after the other; empty for PyTorch's.
    pub(crate) activations: Vec<Activation>,
    /// The bound of the gates' pre-activations.
    pub(crate) clip: Option<f32>,
    /// True if the forget gate is 1 - i.
    pub(crate) input_forget: bool,
    /// True if the gates of an LSTM see its cell state.
    pub(crate) peepholes: bool,
}

/// The most activations of a direction.
const MAX_ACTIVATIONS: usize = 3;

impl CellKind {
    /// Returns the activations of PyTorch's form of the cell.
    fn activations(self) -> &'static [Activation] {
        match self {
            Self::Lstm => &[Activation::Sigmoid, Activation::Tanh, Activation::Tanh],
            Self::Gru | Self::GruResetBefore => &[Activation::Sigmoid, Activation::Tanh],
            Self::Rnn(Nonlinearity::Tanh) => &[Activation::Tanh],
            Self::Rnn(Nonlinearity::Relu) => &[Activation::Relu],
        }
    }
}

impl Form {
    /// Returns true if a layer computes what PyTorch's does.
    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the activations of a direction, in ONNX's order. Those that a cell does not have are its first.
    pub(crate) fn activations(&self, cell: CellKind, direction: usize) -> [Activation; MAX_ACTIVATIONS] {
        let plain = cell.activations();
        let own = match self.activations.chunks_exact(plain.len()).nth(direction) {
            Some(own) => own,
            None if self.activations.len() == plain.len() => &self.activations,
            None => plain,
        };
        std::array::from_fn(|n| own[if n < own.len() { n } else { 0 }])
    }

    /// Returns a form with every option that a cell has: it stands for all others where kernels are listed, as options
    /// are constants of one and the same kernel.
    pub(crate) fn with_every_option(cell: CellKind) -> Self {
        let is_lstm = cell == CellKind::Lstm;
        let activations = [
            Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
            Activation::ScaledTanh { alpha: 1.5, beta: 0.75 },
            Activation::Softsign,
        ];
        let activations = activations[..cell.activations().len()].to_vec();
        Self { activations, clip: Some(3.0), input_forget: is_lstm, peepholes: is_lstm }
    }

    /// Returns the same form of the same cell with what is PyTorch's left out, so that PyTorch's kernels run it.
    pub(crate) fn canonical(self, cell: CellKind) -> (CellKind, Self) {
        let clip = self.clip.filter(|clip| clip.is_finite());
        let count = cell.activations().len();
        let are_all = |plain: &[Activation]| {
            self.activations.len().is_multiple_of(count) && self.activations.chunks(count).all(|own| own == plain)
        };
        let same = match cell {
            CellKind::Rnn(_) => [Nonlinearity::Tanh, Nonlinearity::Relu].map(CellKind::Rnn).to_vec(),
            cell => vec![cell],
        };
        match same.into_iter().find(|cell| !self.activations.is_empty() && are_all(cell.activations())) {
            Some(cell) => (cell, Self { activations: Vec::new(), clip, ..self }),
            None => (cell, Self { clip, ..self }),
        }
    }

    /// Checks the ranges of the options.
    pub(crate) fn validate(&self, cell: CellKind, directions: usize) -> Result<()> {
        let count = cell.activations().len();
        if ![0, count, directions * count].contains(&self.activations.len()) {
            let expected = match count {
                1 => "one for each direction, or one for all",
                2 => "f and g for each direction, or once for all",
                _ => "f, g and h for each direction, or once for all",
            };
            return Err(config("activations", expected, format!("{} of them", self.activations.len())));
        }
        if let Some(infinite) = self.activations.iter().find(|activation| !activation.is_finite()) {
            return Err(config("activations", "finite alpha and beta", infinite.to_string()));
        }
        match self.clip {
            Some(clip) if clip.is_nan() || clip <= 0.0 => Err(config("clip", "a number above 0", clip.to_string())),
            _ => Ok(()),
        }
    }

    /// Returns the override constants of the general form of a cell, in the order of their declarations in
    /// shaders/cell/activations.wgsl and the cell's file.
    pub(crate) fn constants(&self, cell: CellKind) -> Vec<(&'static str, u32)> {
        const NAMES: [[[&str; 3]; MAX_ACTIVATIONS]; 2] = [
            [["F_0", "F_ALPHA_0", "F_BETA_0"], ["G_0", "G_ALPHA_0", "G_BETA_0"], ["H_0", "H_ALPHA_0", "H_BETA_0"]],
            [["F_1", "F_ALPHA_1", "F_BETA_1"], ["G_1", "G_ALPHA_1", "G_BETA_1"], ["H_1", "H_ALPHA_1", "H_BETA_1"]],
        ];
        let mut constants = Vec::new();
        for (direction, names) in NAMES.into_iter().enumerate() {
            for (names, activation) in names.into_iter().zip(self.activations(cell, direction)) {
                constants.extend(names.into_iter().zip(activation.code()));
            }
        }
        constants.extend([("CLIPS", u32::from(self.clip.is_some())), ("CLIP", self.clip.unwrap_or(0.0).to_bits())]);
        if cell == CellKind::Lstm {
            let flag = |name, flag| (name, u32::from(flag));
            constants.extend([flag("INPUT_FORGET", self.input_forget), flag("PEEPHOLES", self.peepholes)]);
        }
        constants
    }
}

fn config(argument: &'static str, expected: &'static str, got: String) -> Error {
    Error::Config { argument, expected, got }
}

/// Prints the options that differ from PyTorch's, each after a comma.
impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.activations.is_empty() {
            let names: Vec<_> = self.activations.iter().map(ToString::to_string).collect();
            write!(f, ", activations=[{}]", names.join(", "))?;
        }
        if let Some(clip) = self.clip {
            write!(f, ", clip={clip}")?;
        }
        if self.input_forget {
            write!(f, ", input_forget=true")?;
        }
        if self.peepholes {
            write!(f, ", peepholes=true")?;
        }
        Ok(())
    }
}
