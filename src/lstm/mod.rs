//! `torch.nn.LSTM`: the model on the host, on a device ([`PlacedLstm`]), and its state.

mod buffers;
mod placed;

use std::path::Path;

pub use buffers::LstmBuffers;
pub use placed::PlacedLstm;

use crate::config::LstmConfig;
use crate::device::Device;
use crate::gpu::Wait;
use crate::model::PlacedModel;
use crate::weights::concat_gates::{self, ConcatGates};
use crate::weights::names::{self, Parameter, ParameterKind};
use crate::weights::tensor_file::TensorFile;
use crate::weights::{self, LayerWeights, init};
use crate::{Error, Real, Result, Tensor};

/// An LSTM with its weights, on the host: `torch.nn.LSTM` in evaluation mode. [`to`](Self::to) places it on a device to
/// run it.
///
/// Shapes and rules are those of
/// [`torch.nn.LSTM`](https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html); T is the number of time steps,
/// B the batch, I `input_size`, H `hidden_size`, L `num_layers`, D 2 if bidirectional and else 1.
///
/// ```
/// use wgpu_rnn::{Device, Lstm, LstmConfig, Tensor};
///
/// let config = LstmConfig::new(10, 20).num_layers(2);
/// let lstm = Lstm::random(config, 0)?.to(&Device::cpu())?;
///
/// let x = Tensor::zeros([5, 3, 10])?; // [T, B, I]
/// let (output, state) = lstm.forward(&x, None)?;
/// assert_eq!(output.shape(), [5, 3, 20]); // [T, B, D·H]
/// assert_eq!(state.h.shape(), [2, 3, 20]); // [L·D, B, H]
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Lstm<F = f32> {
    config: LstmConfig,
    layers: Vec<LayerWeights<F>>,
}

/// What makes a model out of nothing but sizes or a file makes one of f32. For f64, on the CPU, there are
/// [`from_tensor_file`](Lstm::from_tensor_file) and [`cast`](Lstm::cast).
impl Lstm {
    /// A model with every weight and bias drawn uniformly from ±1/√H, as PyTorch initialises
    /// (`torch.nn.RNNBase.reset_parameters`), from a seeded generator: the same seed gives the same model on every machine,
    /// but not the numbers that PyTorch draws.
    ///
    /// # Errors
    /// [`Error::Config`] for a size of 0, [`Error::TooLarge`] when memory for the weights cannot be had.
    pub fn random(config: LstmConfig, seed: u64) -> Result<Self> {
        config.0.validate::<f32>()?;
        let layers = init::uniform(&config.0, seed)?;
        Ok(Self { config, layers })
    }

    /// Reads an LSTM out of a safetensors file with PyTorch's names behind `prefix`: `{prefix}weight_ih_l0` and so on, as
    /// `safetensors.torch.save_file(module.state_dict(), path)` writes them. Number of layers, directions and bias follow
    /// from the names, sizes from the shapes; tensors of other names are not looked at. F32, F64, F16 and BF16 are read.
    ///
    /// What weights do not say, `batch_first`, is set by [`batch_first`](Self::batch_first).
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::SafeTensors`] for the file; [`Error::NoModel`] without a model under the prefix, naming the
    /// prefixes that have one; [`Error::MissingTensor`], [`Error::UnexpectedTensor`], [`Error::Shape`], [`Error::Dtype`] or
    /// [`Error::NonFinite`] with the tensor's name; [`Error::Unsupported`] for an LSTM with projections.
    pub fn from_safetensors(path: impl AsRef<Path>, prefix: &str) -> Result<Self> {
        Self::from_tensor_file(&TensorFile::open(path)?, prefix)
    }
}

impl<F: Real> Lstm<F> {
    /// A model of the given weights, one entry for each layer and direction: index = layer·D + direction.
    ///
    /// # Errors
    /// [`Error::Config`] for a size of 0 (PyTorch's constructor rule); [`Error::Shape`], [`Error::MissingTensor`] or
    /// [`Error::UnexpectedTensor`] when the weights do not fit the configuration; [`Error::NonFinite`] for a NaN or infinite
    /// weight.
    pub fn new(config: LstmConfig, layers: Vec<LayerWeights<F>>) -> Result<Self> {
        Self::checked(config, layers, "")
    }

    fn checked(config: LstmConfig, layers: Vec<LayerWeights<F>>, prefix: &str) -> Result<Self> {
        config.0.validate::<F>()?;
        weights::validate(&config.0, prefix, &layers)?;
        Ok(Self { config, layers })
    }

    /// [`from_safetensors`](Lstm::from_safetensors) of a file that was read already, as f32 or f64.
    ///
    /// # Errors
    /// As [`from_safetensors`](Lstm::from_safetensors).
    pub fn from_tensor_file(file: &TensorFile, prefix: &str) -> Result<Self> {
        let config = names::infer_lstm(prefix, file.names(), |name| file.shape(name))?;
        let mut layers = Vec::new();
        for (layer, direction) in config.layer_directions() {
            let read = |kind| {
                let name = format!("{prefix}{}", Parameter { kind, layer, direction });
                let why = || format!("the other names under {prefix:?} describe {}", LstmConfig(config.clone()));
                file.tensor(&name)?.ok_or_else(|| Error::MissingTensor { name: name.clone(), why: why() })
            };
            let mut weights = LayerWeights::new(read(ParameterKind::WeightIh)?, read(ParameterKind::WeightHh)?);
            if config.bias {
                weights = weights.with_bias(read(ParameterKind::BiasIh)?, read(ParameterKind::BiasHh)?);
            }
            layers.push(weights);
        }
        Self::checked(LstmConfig(config), layers, prefix)
    }

    /// Writes the model to a safetensors file under PyTorch's names behind `prefix`, in its own number type.
    /// `module.load_state_dict(safetensors.torch.load_file(path))` reads it in PyTorch (with an empty prefix).
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn save_safetensors(&self, path: impl AsRef<Path>, prefix: &str) -> Result<()> {
        let mut tensors = Vec::new();
        for ((layer, direction), weights) in self.config.0.layer_directions().zip(&self.layers) {
            for kind in ParameterKind::ALL {
                if let Some(tensor) = weights.get(kind) {
                    tensors.push((format!("{prefix}{}", Parameter { kind, layer, direction }), tensor));
                }
            }
        }
        TensorFile::save(path, &tensors)
    }

    /// The LSTM that hand-written layers compute, one Linear per gate over `[x, h]`, first layer first.
    ///
    /// # Errors
    /// [`Error::Config`] without a layer; [`Error::Shape`] or [`Error::MissingTensor`] when gates do not fit each other;
    /// [`Error::NonFinite`] for a NaN or infinite weight.
    pub fn from_concat_gates(layers: &[ConcatGates<F>]) -> Result<Self> {
        let (config, layers) = concat_gates::import(layers)?;
        Self::new(LstmConfig(config), layers)
    }

    /// The same computation as one Linear per gate over `[x, h]`; the two biases are added into one.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a bidirectional model.
    pub fn to_concat_gates(&self) -> Result<Vec<ConcatGates<F>>> {
        concat_gates::export(&self.config.0, &self.layers)
    }

    /// The same model in another number type, each weight the nearest value: f32 to f64 is exact.
    ///
    /// # Errors
    /// [`Error::NonFinite`] when a weight is beyond the range of `G`.
    pub fn cast<G: Real>(&self) -> Result<Lstm<G>> {
        let layers = self.layers.iter().map(LayerWeights::cast).collect::<Result<_>>()?;
        Lstm::new(self.config.clone(), layers)
    }

    /// The same model with batched input and output as `[B, T, ·]` (true) or `[T, B, ·]`.
    #[must_use]
    pub fn batch_first(mut self, batch_first: bool) -> Self {
        self.config = self.config.batch_first(batch_first);
        self
    }

    /// The configuration.
    pub fn config(&self) -> &LstmConfig {
        &self.config
    }

    /// The weights: index = layer·D + direction.
    pub fn layers(&self) -> &[LayerWeights<F>] {
        &self.layers
    }

    /// Places the model on a device: weights are packed and uploaded once, here.
    ///
    /// # Errors
    /// [`Error::Limit`] when the device cannot hold a weight, [`Error::OutOfMemory`], [`Error::DeviceLost`];
    /// [`Error::Unsupported`] for f64 on a GPU.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn to(&self, device: &Device) -> Result<PlacedLstm<F>> {
        pollster::block_on(self.place(device, Wait::Blocking))
    }

    /// [`to`](Self::to) without blocking.
    ///
    /// # Errors
    /// As [`to`](Self::to).
    pub async fn to_async(&self, device: &Device) -> Result<PlacedLstm<F>> {
        self.place(device, Wait::Async).await
    }

    async fn place(&self, device: &Device, wait: Wait) -> Result<PlacedLstm<F>> {
        let model = PlacedModel::new(&self.config.0, &self.layers, device, wait).await?;
        Ok(PlacedLstm { config: self.config.clone(), device: device.clone(), model })
    }
}

/// The state of an LSTM between two calls: `(h, c)` of PyTorch.
#[derive(Clone, Debug, PartialEq)]
pub struct LstmState<F = f32> {
    /// The hidden state: `[L·D, B, H]`, unbatched `[L·D, H]`; index = layer·D + direction.
    pub h: Tensor<F>,
    /// The cell state, same shape.
    pub c: Tensor<F>,
}
