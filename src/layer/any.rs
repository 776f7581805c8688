//! A layer whose kind is known only from a file.

use std::fmt;
use std::path::Path;

use crate::config::RecurrentConfig;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::layer::{Gru, Lstm, Rnn};
use crate::real::Real;
use crate::weights::LayerWeights;
use crate::weights::inventory::LayerKind;
use crate::weights::tensor_file::TensorFile;

/// An [`Lstm`], [`Gru`] or [`Rnn`]. Displays as PyTorch prints it.
///
/// The states of the kinds have different types, so code that runs a layer is generic over [`Kind`](crate::Kind), and a
/// `match` leads to it:
///
/// ```
/// use wgpu_rnn::{AnyLayer, Device, Error, Gru, GruConfig, Kind, Layer, Result, Tensor};
///
/// fn run<K: Kind>(layer: &Layer<K>) -> Result<Tensor> {
///     let x = Tensor::zeros([5, 3, layer.config().input_size()])?; // [T, B, I]
///     Ok(layer.to(&Device::cpu())?.forward(&x, None)?.0)
/// }
///
/// let any = AnyLayer::from(Gru::random(GruConfig::new(10, 20), 0)?);
/// let output = match &any {
///     AnyLayer::Lstm(layer) => run(layer),
///     AnyLayer::Gru(layer) => run(layer),
///     AnyLayer::Rnn(layer) => run(layer),
///     // A kind of a later version.
///     other => Err(Error::Unsupported { what: other.to_string(), why: "this program does not know it".to_owned() }),
/// }?;
/// assert_eq!((output.shape(), any.to_string()), (&[5, 3, 20][..], "GRU(10, 20)".to_owned()));
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum AnyLayer<F = f32> {
    /// `torch.nn.LSTM`
    Lstm(Lstm<F>),
    /// `torch.nn.GRU`
    Gru(Gru<F>),
    /// `torch.nn.RNN`
    Rnn(Rnn<F>),
}

/// Evaluates the same expression for whichever layer it is.
macro_rules! each {
    ($any:expr, $layer:ident => $do:expr) => {
        match $any {
            AnyLayer::Lstm($layer) => $do,
            AnyLayer::Gru($layer) => $do,
            AnyLayer::Rnn($layer) => $do,
        }
    };
}

impl AnyLayer {
    /// Reads the layer under `prefix`, whose kind follows from the rows of its weights: 4·H, 3·H or H. Arguments that
    /// weights do not record are handled as in [`Layer::from_safetensors`](crate::Layer::from_safetensors).
    ///
    /// # Errors
    /// The errors of [`Layer::from_safetensors`](crate::Layer::from_safetensors).
    pub fn from_safetensors(path: impl AsRef<Path>, prefix: &str) -> Result<Self> {
        Self::from_tensor_file(&TensorFile::open(path)?, prefix)
    }

    /// Does the same as [`from_safetensors`](Self::from_safetensors) with a file that is already open.
    ///
    /// # Errors
    /// The errors of [`from_safetensors`](Self::from_safetensors).
    pub fn from_tensor_file(file: &TensorFile, prefix: &str) -> Result<Self> {
        Self::from_tensor_file_as(file, prefix)
    }

    /// Does the same as [`from_tensor_file`](Self::from_tensor_file) in a given number type:
    /// `AnyLayer::from_tensor_file_as::<f64>(&file, prefix)`.
    ///
    /// # Errors
    /// The errors of [`from_safetensors`](Self::from_safetensors).
    pub fn from_tensor_file_as<F: Real>(file: &TensorFile, prefix: &str) -> Result<AnyLayer<F>> {
        Ok(match file.layer(prefix)?.kind {
            LayerKind::Lstm => Lstm::from_tensor_file_as(file, prefix)?.into(),
            LayerKind::Gru => Gru::from_tensor_file_as(file, prefix)?.into(),
            LayerKind::Rnn => Rnn::from_tensor_file_as(file, prefix)?.into(),
        })
    }
}

impl<F: Real> AnyLayer<F> {
    /// Returns the kind of the layer.
    pub fn kind(&self) -> LayerKind {
        match self {
            Self::Lstm(_) => LayerKind::Lstm,
            Self::Gru(_) => LayerKind::Gru,
            Self::Rnn(_) => LayerKind::Rnn,
        }
    }

    fn config(&self) -> &RecurrentConfig {
        each!(self, layer => &layer.config.0)
    }

    /// Returns I, the number of features of the input.
    pub fn input_size(&self) -> usize {
        self.config().input_size
    }

    /// Returns H, the number of units per layer and direction.
    pub fn hidden_size(&self) -> usize {
        self.config().hidden_size
    }

    /// Returns P of an LSTM with a projection, otherwise 0.
    pub fn proj_size(&self) -> usize {
        self.config().proj_size
    }

    /// Returns L, the number of layers.
    pub fn num_layers(&self) -> usize {
        self.config().num_layers
    }

    /// Returns true if there are biases.
    pub fn bias(&self) -> bool {
        self.config().bias
    }

    /// Returns true if batched input and output are `[B, T, ·]` instead of `[T, B, ·]`.
    pub fn batch_first(&self) -> bool {
        self.config().batch_first
    }

    /// Returns true if there are two directions.
    pub fn bidirectional(&self) -> bool {
        self.config().bidirectional
    }

    /// Returns D·P, the number of features of the output.
    pub fn output_size(&self) -> usize {
        self.config().output_size()
    }

    /// Returns the weights; the index is layer·D + direction.
    pub fn layers(&self) -> &[LayerWeights<F>] {
        each!(self, layer => layer.layers())
    }

    /// Sets the layout of batched input and output: `[B, T, ·]` (true) or `[T, B, ·]`. States keep their shape.
    #[must_use]
    pub fn with_batch_first(mut self, batch_first: bool) -> Self {
        each!(&mut self, layer => layer.config.0.batch_first = batch_first);
        self
    }

    /// Writes the layer to a safetensors file, like [`Layer::save_safetensors`](crate::Layer::save_safetensors).
    ///
    /// # Errors
    /// The errors of [`Layer::save_safetensors`](crate::Layer::save_safetensors).
    pub fn save_safetensors(&self, path: impl AsRef<Path>, prefix: &str) -> Result<()> {
        each!(self, layer => layer.save_safetensors(path, prefix))
    }
}

impl<F> From<Lstm<F>> for AnyLayer<F> {
    fn from(layer: Lstm<F>) -> Self {
        Self::Lstm(layer)
    }
}

impl<F> From<Gru<F>> for AnyLayer<F> {
    fn from(layer: Gru<F>) -> Self {
        Self::Gru(layer)
    }
}

impl<F> From<Rnn<F>> for AnyLayer<F> {
    fn from(layer: Rnn<F>) -> Self {
        Self::Rnn(layer)
    }
}

/// Writes the layer in one line, without its weights.
impl<F: Real> fmt::Debug for AnyLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        each!(self, layer => fmt::Debug::fmt(layer, f))
    }
}

/// Prints like `print(module)` in PyTorch, in Rust's spelling.
impl<F: Real> fmt::Display for AnyLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config().fmt(f)
    }
}
