//! The public API: a recurrent layer on the host ([`Layer`]), on a device ([`Placed`]), and its kinds.

pub(crate) mod any;
pub(crate) mod buffers;
pub(crate) mod config;
pub(crate) mod forward;
pub(crate) mod gradient_buffers;
pub(crate) mod gradients;
pub(crate) mod kind;
pub(crate) mod need;
pub(crate) mod place;
pub(crate) mod placed;
pub(crate) mod plan;
pub(crate) mod push;
pub(crate) mod record;
pub(crate) mod record_train;
pub(crate) mod slots;
pub(crate) mod streams;
pub(crate) mod train;
#[cfg(not(target_arch = "wasm32"))]
mod tune;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::cell_kind::Nonlinearity;
use crate::error::{Error, Result};
use crate::layer::buffers::Buffers;
use crate::layer::config::Config;
use crate::layer::gradient_buffers::GradientBuffers;
use crate::layer::kind::{GruKind, Kind, KindCell, LstmKind, RnnKind};
use crate::layer::placed::Placed;
use crate::layer::streams::Streams;
use crate::memory::reserved;
use crate::real::Real;
use crate::tensor::Tensor;
use crate::weights::concat_gates::{self, ConcatGates};
use crate::weights::names::{self, Naming};
use crate::weights::tensor_file::TensorFile;
use crate::weights::{self, LayerWeights, init, pytorch};

/// `torch.nn.LSTM` with its weights: long short-term memory (Hochreiter & Schmidhuber 1997, with forget gates).
pub type Lstm<F = f32> = Layer<LstmKind, F>;
/// `torch.nn.GRU` with its weights: gated recurrent units (Cho et al. 2014, in the form that applies the reset gate
/// after the recurrent product). [`with_reset_after`](Layer::with_reset_after) selects the other form.
pub type Gru<F = f32> = Layer<GruKind, F>;
/// `torch.nn.RNN` with its weights: the plain recurrent layer of Elman 1990, with tanh or relu.
pub type Rnn<F = f32> = Layer<RnnKind, F>;

/// The configuration of an [`Lstm`].
pub type LstmConfig = Config<LstmKind>;
/// The configuration of a [`Gru`].
pub type GruConfig = Config<GruKind>;
/// The configuration of an [`Rnn`].
pub type RnnConfig = Config<RnnKind>;

/// An [`Lstm`] on a device.
pub type PlacedLstm<F = f32> = Placed<LstmKind, F>;
/// A [`Gru`] on a device.
pub type PlacedGru<F = f32> = Placed<GruKind, F>;
/// An [`Rnn`] on a device.
pub type PlacedRnn<F = f32> = Placed<RnnKind, F>;

/// Streams through an [`Lstm`].
pub type LstmStreams<F = f32> = Streams<LstmKind, F>;
/// Streams through a [`Gru`].
pub type GruStreams<F = f32> = Streams<GruKind, F>;
/// Streams through an [`Rnn`].
pub type RnnStreams<F = f32> = Streams<RnnKind, F>;

/// Device buffers for a [`PlacedLstm`].
pub type LstmBuffers<'a> = Buffers<'a, LstmKind>;
/// Device buffers for a [`PlacedGru`].
pub type GruBuffers<'a> = Buffers<'a, GruKind>;
/// Device buffers for a [`PlacedRnn`].
pub type RnnBuffers<'a> = Buffers<'a, RnnKind>;
/// Device buffers of gradients for a [`PlacedLstm`].
pub type LstmGradientBuffers<'a> = GradientBuffers<'a, LstmKind>;
/// Device buffers of gradients for a [`PlacedGru`].
pub type GruGradientBuffers<'a> = GradientBuffers<'a, GruKind>;
/// Device buffers of gradients for a [`PlacedRnn`].
pub type RnnGradientBuffers<'a> = GradientBuffers<'a, RnnKind>;

/// A recurrent layer with its weights, on the host, in evaluation mode: [`Lstm`], [`Gru`] or [`Rnn`]. [`to`](Self::to)
/// places it on a device to run it.
///
/// Shapes and rules are those of [`torch.nn.LSTM`](https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html),
/// [`torch.nn.GRU`](https://docs.pytorch.org/docs/stable/generated/torch.nn.GRU.html) and
/// [`torch.nn.RNN`](https://docs.pytorch.org/docs/stable/generated/torch.nn.RNN.html); T is the number of time steps,
/// B the batch, I `input_size`, H `hidden_size`, L `num_layers`, and D 2 if bidirectional, otherwise 1.
///
/// ```
/// use wgpu_rnn::{Device, Lstm, LstmConfig, Tensor};
///
/// let config = LstmConfig::new(10, 20).with_num_layers(2);
/// let lstm = Lstm::random(config, 0)?.to(&Device::cpu())?;
///
/// let x = Tensor::zeros([5, 3, 10])?; // [T, B, I]
/// let (output, state) = lstm.forward(&x, None)?;
/// assert_eq!(output.shape(), [5, 3, 20]); // [T, B, D·H]
/// assert_eq!(state.h.shape(), [2, 3, 20]); // [L·D, B, H]
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
///
/// Cheap to clone: clones share the weights.
#[derive(Clone, PartialEq)]
pub struct Layer<K, F = f32> {
    config: Config<K>,
    layers: Arc<Vec<LayerWeights<F>>>,
}

/// Constructors that take only sizes or a file create models of f32. For f64, on the CPU, there are
/// [`from_tensor_file_as`](Layer::from_tensor_file_as) and [`cast`](Layer::cast).
impl<K: Kind> Layer<K> {
    /// Creates a model with every weight and bias drawn uniformly from ±1/√H, as PyTorch initializes them
    /// (`torch.nn.RNNBase.reset_parameters`), by a seeded generator: the same seed gives the same model on every
    /// machine, but not the numbers that PyTorch draws.
    ///
    /// # Errors
    /// [`Error::Config`] for a size of 0, [`Error::TooLarge`] if memory for the weights cannot be allocated.
    pub fn random(config: Config<K>, seed: u64) -> Result<Self> {
        config.0.validate::<f32>()?;
        let config = Config::of(config.0.canonical());
        let layers = init::uniform(&config.0, seed)?.into();
        Ok(Self { config, layers })
    }

    /// Reads a layer from a safetensors file with PyTorch's names after `prefix`: `{prefix}weight_ih_l0` and so on, as
    /// `safetensors.torch.save_file(module.state_dict(), path)` writes them. The number of layers, the directions and
    /// the bias follow from the names, sizes from the shapes; tensors with other names are ignored. F32, F64, F16 and
    /// BF16 can be read.
    ///
    /// # Arguments that weights do not record
    /// PyTorch saves a layer with `batch_first=True` exactly like one without, and the wrong layout often runs without
    /// an error: it merely swaps time steps and batch rows. Weights do not record `nonlinearity`, `dropout` and the
    /// position of a GRU's reset gate either. There are three ways to supply them:
    ///
    /// - Set them afterwards: [`with_batch_first`](Self::with_batch_first),
    ///   [`with_nonlinearity`](Layer::with_nonlinearity), [`with_reset_after`](Layer::with_reset_after),
    ///   [`with_dropout`](Self::with_dropout).
    /// - State the whole configuration, which is compared with the file:
    ///   [`from_safetensors_with`](Self::from_safetensors_with).
    /// - Keep them in the file's metadata under the keys `{prefix}batch_first` (true or false), `{prefix}nonlinearity`
    ///   (tanh or relu), `{prefix}reset_after` (true or false) and `{prefix}dropout`, from which this function reads
    ///   them. [`save_safetensors`](Self::save_safetensors) writes them; in Python,
    ///   `save_file(lstm.state_dict(), path, metadata={"batch_first": str(lstm.batch_first)})` does.
    ///
    /// ```no_run
    /// use wgpu_rnn::Lstm;
    ///
    /// // nn.LSTM(..., batch_first=True)
    /// let lstm = Lstm::from_safetensors("model.safetensors", "encoder.")?.with_batch_first(true);
    /// # Ok::<(), wgpu_rnn::Error>(())
    /// ```
    ///
    /// A GRU is PyTorch's, whose reset gate acts after the recurrent product (`reset_after=True` of Keras), unless
    /// specified otherwise.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::SafeTensors`] for the file; [`Error::NoModel`] if there is no model under the prefix,
    /// naming the prefixes that have one; [`Error::MissingTensor`], [`Error::UnexpectedTensor`], [`Error::Shape`],
    /// [`Error::Dtype`] or [`Error::NonFinite`] with the tensor's name, also for a layer of another kind;
    /// [`Error::Config`] for metadata with an unknown value; [`Error::TooLarge`] if memory cannot be allocated.
    pub fn from_safetensors(path: impl AsRef<Path>, prefix: &str) -> Result<Self> {
        Self::from_tensor_file(&TensorFile::open(path)?, prefix)
    }

    /// Reads the layer that `config` describes from a safetensors file, like PyTorch's `load_state_dict`: a file that
    /// holds a different layer is an error. Arguments that the file does not record are taken from `config`.
    ///
    /// ```no_run
    /// use wgpu_rnn::{Lstm, LstmConfig};
    ///
    /// // The line that created the model: nn.LSTM(80, 512, num_layers=3, batch_first=True)
    /// let config = LstmConfig::new(80, 512).with_num_layers(3).with_batch_first(true);
    /// let lstm = Lstm::from_safetensors_with(config, "model.safetensors", "encoder.")?;
    /// # Ok::<(), wgpu_rnn::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::ConfigMismatch`] with every argument that the file contradicts; otherwise the errors of
    /// [`from_safetensors`](Self::from_safetensors).
    pub fn from_safetensors_with(config: Config<K>, path: impl AsRef<Path>, prefix: &str) -> Result<Self> {
        Self::from_tensor_file_with(config, &TensorFile::open(path)?, prefix)
    }

    /// Does the same as [`from_safetensors`](Self::from_safetensors) with a file that is already open.
    ///
    /// # Errors
    /// The errors of [`from_safetensors`](Self::from_safetensors).
    pub fn from_tensor_file(file: &TensorFile, prefix: &str) -> Result<Self> {
        Self::from_tensor_file_as(file, prefix)
    }

    /// Does the same as [`from_safetensors_with`](Self::from_safetensors_with) with a file that is already open.
    ///
    /// # Errors
    /// The errors of [`from_safetensors_with`](Self::from_safetensors_with).
    pub fn from_tensor_file_with(config: Config<K>, file: &TensorFile, prefix: &str) -> Result<Self> {
        let layers = pytorch::read_as_configured(Naming::Layer, &config.0, file, prefix)?;
        Self::checked(config, layers, prefix)
    }

    /// Does the same as [`from_tensor_file`](Self::from_tensor_file) in a given number type:
    /// `Lstm::from_tensor_file_as::<f64>(&file, prefix)`.
    ///
    /// # Errors
    /// The errors of [`from_safetensors`](Self::from_safetensors).
    pub fn from_tensor_file_as<F: Real>(file: &TensorFile, prefix: &str) -> Result<Layer<K, F>> {
        let KindCell(cell) = K::CELL;
        let (config, layers) = pytorch::read(Naming::Layer, cell, file, prefix)?;
        Layer::checked(Config::of(config), layers, prefix)
    }
}

impl<K: Kind, F: Real> Layer<K, F> {
    /// Creates a model from the given weights, one entry per layer and direction; the index is layer·D + direction.
    ///
    /// # Errors
    /// [`Error::Config`] for a size of 0 (PyTorch's rule for the constructor); [`Error::Shape`],
    /// [`Error::MissingTensor`] or [`Error::UnexpectedTensor`] if the weights do not fit the configuration;
    /// [`Error::NonFinite`] for a NaN or infinite weight.
    pub fn new(config: Config<K>, layers: Vec<LayerWeights<F>>) -> Result<Self> {
        Self::checked(config, layers, "")
    }

    fn checked(config: Config<K>, layers: Vec<LayerWeights<F>>, prefix: &str) -> Result<Self> {
        config.0.validate::<F>()?;
        weights::validate(&config.0, &layers, |parameter| format!("{prefix}{parameter}"))?;
        Ok(Self { config: Config::of(config.0.canonical()), layers: layers.into() })
    }

    /// Writes the model to a safetensors file under PyTorch's names after `prefix`, in its own number type.
    /// `module.load_state_dict(safetensors.torch.load_file(path))` reads it in PyTorch (with an empty prefix).
    /// `batch_first`, `dropout`, an RNN's `nonlinearity` and a GRU's `reset_after` are stored in the file's metadata,
    /// from which [`from_safetensors`](Layer::from_safetensors) reads them.
    ///
    /// # Errors
    /// The errors of [`TensorFile::save`], which also describes when a file appears whole.
    pub fn save_safetensors(&self, path: impl AsRef<Path>, prefix: &str) -> Result<()> {
        pytorch::save(Naming::Layer, &self.config.0, &self.layers, path.as_ref(), prefix)
    }

    /// Returns the same model in another number type, each weight rounded to the nearest value; f32 to f64 is exact.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if a weight is beyond the range of `G`.
    pub fn cast<G: Real>(&self) -> Result<Layer<K, G>> {
        let layers = self.layers.iter().map(LayerWeights::cast).collect::<Result<_>>()?;
        Layer::new(self.config.clone(), layers)
    }

    /// Returns the same model with batched input and output as `[B, T, ·]` (true) or `[T, B, ·]`.
    #[must_use]
    pub fn with_batch_first(mut self, batch_first: bool) -> Self {
        self.config = self.config.with_batch_first(batch_first);
        self
    }

    /// Returns the same model with dropout of probability `p` between its layers, which weights do not record; it acts
    /// only in [training mode](crate::Mode::Training).
    ///
    /// # Errors
    /// [`Error::Config`] unless `p` is from 0 to 1.
    pub fn with_dropout(self, p: f64) -> Result<Self> {
        let config = self.config.with_dropout(p);
        config.0.validate::<F>()?;
        Ok(Self { config, ..self })
    }

    /// Returns the configuration.
    pub fn config(&self) -> &Config<K> {
        &self.config
    }

    /// Returns every parameter by PyTorch's name: `weight_ih_l0`, `weight_hh_l0` and so on.
    pub fn named(&self) -> impl Iterator<Item = (String, &Tensor<F>)> {
        names::named(&self.layers, self.config.directions())
    }

    /// Returns the layer with other parameters, in the order of [`named`](Self::named).
    pub(crate) fn with_parameters(&self, parameters: Vec<Tensor<F>>) -> Result<Self> {
        let mut parameters = parameters.into_iter();
        let missing = || Error::MissingTensor { name: "a parameter".to_owned(), why: self.config.to_string() };
        let mut next = || parameters.next().ok_or_else(missing);
        let mut layers = reserved("the weights of all layers", &[self.layers.len()])?;
        for weights in self.layers() {
            let mut changed = LayerWeights::new(next()?, next()?);
            if weights.bias_ih().is_some() {
                changed = changed.with_bias(next()?, next()?);
            }
            if weights.weight_hr().is_some() {
                changed = changed.with_projection(next()?);
            }
            if weights.peephole().is_some() {
                changed = changed.with_peephole(next()?);
            }
            layers.push(changed);
        }
        Self::new(self.config.clone(), layers)
    }

    /// Returns the weights; the index is layer·D + direction.
    pub fn layers(&self) -> &[LayerWeights<F>] {
        &self.layers
    }
}

impl<F: Real> Layer<LstmKind, F> {
    /// Converts hand-written layers with one Linear per gate over `[x, h]`, first layer first, to an LSTM.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no layer; [`Error::Shape`] or [`Error::MissingTensor`] if the gates do not match
    /// each other; [`Error::NonFinite`] for a NaN or infinite weight.
    pub fn from_concat_gates(layers: &[ConcatGates<F>]) -> Result<Self> {
        let (config, layers) = concat_gates::import(layers)?;
        Self::new(Config::of(config), layers)
    }

    /// Converts the LSTM to layers with one Linear per gate over `[x, h]`; the two biases are added together.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a bidirectional model or one with `proj_size`.
    pub fn to_concat_gates(&self) -> Result<Vec<ConcatGates<F>>> {
        concat_gates::export(&self.config.0, &self.layers)
    }
}

impl<F: Real> Layer<GruKind, F> {
    /// Returns the same model with its reset gate after the recurrent product (true) or before it, which weights do not
    /// record: see [`GruConfig::with_reset_after`](Config::with_reset_after).
    #[must_use]
    pub fn with_reset_after(mut self, reset_after: bool) -> Self {
        self.config = self.config.with_reset_after(reset_after);
        self
    }
}

impl<F: Real> Layer<RnnKind, F> {
    /// Returns the same model with another nonlinearity, which weights do not record.
    #[must_use]
    pub fn with_nonlinearity(mut self, nonlinearity: Nonlinearity) -> Self {
        self.config = self.config.with_nonlinearity(nonlinearity);
        self
    }
}

/// Writes the same as [`Display`](fmt::Display): weights are not printed.
impl<K: Kind, F: Real> fmt::Debug for Layer<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Layer({self})")
    }
}

/// Prints like `print(module)` in PyTorch, in Rust's spelling: "LSTM(10, 20, num_layers=2)".
impl<K: Kind, F: Real> fmt::Display for Layer<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}
