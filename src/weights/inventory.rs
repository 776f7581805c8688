//! The recurrent layers and cells of a file, described from its header alone.

use std::fmt;

use safetensors::Dtype;

use crate::cell_kind::{CellKind, Nonlinearity};
use crate::config::RecurrentConfig;
use crate::error::{Error, Result};
use crate::weights::names::{self, Naming, Parameter, ParameterKind};
use crate::weights::recorded::Recorded;
use crate::weights::tensor_file::TensorFile;

/// A kind of recurrent layer or cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LayerKind {
    /// [`Lstm`](crate::Lstm) and [`LstmCell`](crate::LstmCell).
    Lstm,
    /// [`Gru`](crate::Gru) and [`GruCell`](crate::GruCell); the weights do not record where the reset gate acts.
    Gru,
    /// [`Rnn`](crate::Rnn) and [`RnnCell`](crate::RnnCell); the weights do not record the nonlinearity.
    Rnn,
}

impl LayerKind {
    pub(crate) fn of(cell: CellKind) -> Self {
        match cell {
            CellKind::Lstm => Self::Lstm,
            CellKind::Gru | CellKind::GruResetBefore => Self::Gru,
            CellKind::Rnn(_) => Self::Rnn,
        }
    }

    fn cell(self) -> CellKind {
        match self {
            Self::Lstm => CellKind::Lstm,
            Self::Gru => CellKind::Gru,
            Self::Rnn => CellKind::Rnn(Nonlinearity::Tanh),
        }
    }
}

/// Writes PyTorch's name: "LSTM", "GRU" or "RNN".
impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cell().name())
    }
}

/// A recurrent layer in a file: the arguments of its PyTorch class, as far as names and shapes show them.
///
/// Displays as `LSTM(80, 512, num_layers=3, bidirectional=true) under "encoder.", F16`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LayerInfo {
    /// The prefix of the layer's tensors, such as "encoder.".
    pub prefix: String,
    /// LSTM, GRU or RNN, by the rows of `weight_hh_l0`: 4·H, 3·H or H.
    pub kind: LayerKind,
    /// I: the number of features of the input.
    pub input_size: usize,
    /// H: the number of units.
    pub hidden_size: usize,
    /// P of an LSTM with a projection, otherwise 0.
    pub proj_size: usize,
    /// L: the number of layers.
    pub num_layers: usize,
    /// `bias` of PyTorch: true if there are `bias_ih` and `bias_hh`.
    pub bias: bool,
    /// `bidirectional` of PyTorch: D is 2 if true, otherwise 1.
    pub bidirectional: bool,
    /// The number type of the first weight.
    pub dtype: Dtype,
    /// The layout of input and output, if the file's metadata records it; weights do not.
    pub batch_first: Option<bool>,
    /// The nonlinearity of an RNN, if the file's metadata records it; weights do not.
    pub nonlinearity: Option<Nonlinearity>,
    /// True if the reset gate of a GRU acts after the recurrent product, false if before it, if the file's metadata
    /// records it; weights do not.
    pub reset_after: Option<bool>,
    /// The layer as PyTorch would print it.
    pub(crate) text: String,
}

impl fmt::Display for LayerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} under {:?}, {}", self.text, self.prefix, self.dtype)
    }
}

/// A recurrent cell in a file, described like a layer by [`LayerInfo`]. Displays as `GRUCell(10, 20) under "decoder.",
/// F32`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CellInfo {
    /// The prefix of the cell's tensors.
    pub prefix: String,
    /// LSTM, GRU or RNN, by the rows of `weight_hh`: 4·H, 3·H or H.
    pub kind: LayerKind,
    /// I: the number of features of the input.
    pub input_size: usize,
    /// H: the number of units.
    pub hidden_size: usize,
    /// `bias` of PyTorch: true if there are `bias_ih` and `bias_hh`.
    pub bias: bool,
    /// The number type of `weight_ih`.
    pub dtype: Dtype,
    /// The nonlinearity of an RNN cell, if the file's metadata records it; weights do not.
    pub nonlinearity: Option<Nonlinearity>,
    /// True if the reset gate of a GRU cell acts after the recurrent product, false if before it, if the file's
    /// metadata records it; weights do not.
    pub reset_after: Option<bool>,
}

impl fmt::Display for CellInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recorded =
            Recorded { nonlinearity: self.nonlinearity, reset_after: self.reset_after, ..Recorded::default() };
        let mut config = RecurrentConfig {
            bias: self.bias,
            ..RecurrentConfig::one_layer(self.kind.cell(), self.input_size, self.hidden_size)
        };
        recorded.apply(&mut config);
        write!(f, "{} under {:?}, {}", Naming::Cell.describe(&config), self.prefix, self.dtype)
    }
}

impl TensorFile {
    /// Returns the file's recurrent layers, ordered by their prefixes, without loading them.
    ///
    /// Tensors that are named like those of a layer but do not form one, because one is missing or has a wrong shape,
    /// are left out; [`layer`](Self::layer) reports what is wrong with them.
    pub fn layers(&self) -> Vec<LayerInfo> {
        self.recurrent_prefixes().iter().filter_map(|prefix| self.layer(prefix).ok()).collect()
    }

    /// Returns the description of the recurrent layer under `prefix`, without loading it.
    ///
    /// # Errors
    /// [`Error::NoModel`], [`Error::MissingTensor`], [`Error::UnexpectedTensor`] or [`Error::Shape`], as when reading
    /// it; [`Error::Config`] for metadata that records an unknown value.
    pub fn layer(&self, prefix: &str) -> Result<LayerInfo> {
        let (config, recorded, dtype) = self.describe(Naming::Layer, prefix)?;
        let mut whole = config.clone();
        Recorded { dropout: None, ..recorded.clone() }.apply(&mut whole);
        Ok(LayerInfo {
            text: whole.canonical().to_string(),
            prefix: prefix.to_owned(),
            kind: LayerKind::of(config.cell),
            input_size: config.input_size,
            hidden_size: config.hidden_size,
            proj_size: config.proj_size,
            num_layers: config.num_layers,
            bias: config.bias,
            bidirectional: config.bidirectional,
            dtype,
            batch_first: recorded.batch_first,
            nonlinearity: recorded.nonlinearity,
            reset_after: recorded.reset_after,
        })
    }

    /// Returns the file's recurrent cells, like [`layers`](Self::layers).
    pub fn cells(&self) -> Vec<CellInfo> {
        self.cell_prefixes().iter().filter_map(|prefix| self.cell(prefix).ok()).collect()
    }

    /// Returns the description of the recurrent cell under `prefix`, without loading it.
    ///
    /// # Errors
    /// The errors of [`layer`](Self::layer).
    pub fn cell(&self, prefix: &str) -> Result<CellInfo> {
        let (config, recorded, dtype) = self.describe(Naming::Cell, prefix)?;
        Ok(CellInfo {
            prefix: prefix.to_owned(),
            kind: LayerKind::of(config.cell),
            input_size: config.input_size,
            hidden_size: config.hidden_size,
            bias: config.bias,
            dtype,
            nonlinearity: recorded.nonlinearity,
            reset_after: recorded.reset_after,
        })
    }

    fn describe(&self, naming: Naming, prefix: &str) -> Result<(RecurrentConfig, Recorded, Dtype)> {
        // Weights of no kind get the error of reading an LSTM.
        let cell = naming.kind(prefix, |name| self.shape(name)).unwrap_or(CellKind::Lstm);
        let config = names::infer(naming, cell, prefix, self.names(), |name| self.shape(name));
        let config = config.map_err(|error| self.explained(error))?;
        let first = naming.name(prefix, Parameter { kind: ParameterKind::WeightIh, layer: 0, direction: 0 });
        let missing = || Error::MissingTensor { name: first.clone(), why: "every layer has one".to_owned() };
        Ok((config, Recorded::read(self, prefix)?, self.dtype(&first).ok_or_else(missing)?))
    }
}
