//! `torch.nn.LSTM`: the model, the model on a device, and its state.

use std::path::Path;

use crate::config::LstmConfig;
use crate::device::{Device, needs_gpu};
use crate::gpu::Wait;
use crate::gpu::model::EncodeIo;
use crate::gpu::workspace::Io;
use crate::model::{Place, PlacedModel};
use crate::plan::Plan;
use crate::sequence::Sequence;
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
/// let lstm = Lstm::random(LstmConfig::new(10, 20).num_layers(2), 0)?.to(&Device::cpu())?;
/// let x = Tensor::zeros([5, 3, 10])?;                     // [T, B, I]
/// let (output, state) = lstm.forward(&x, None)?;
/// assert_eq!(output.shape(), [5, 3, 20]);                 // [T, B, D·H]
/// assert_eq!(state.h.shape(), [2, 3, 20]);                // [L·D, B, H]
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Lstm<F = f32> {
    config: LstmConfig,
    layers: Vec<LayerWeights<F>>,
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

    /// A model with every weight and bias drawn uniformly from ±1/√H, as PyTorch initialises
    /// (`torch.nn.RNNBase.reset_parameters`), from a seeded generator: the same seed gives the same model on every machine,
    /// but not the numbers that PyTorch draws.
    ///
    /// # Errors
    /// [`Error::Config`] for a size of 0, [`Error::TooLarge`] when memory for the weights cannot be had.
    pub fn random(config: LstmConfig, seed: u64) -> Result<Self> {
        config.0.validate::<F>()?;
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

    /// [`from_safetensors`](Self::from_safetensors) of a file that was read already.
    ///
    /// # Errors
    /// As [`from_safetensors`](Self::from_safetensors).
    pub fn from_tensor_file(file: &TensorFile, prefix: &str) -> Result<Self> {
        let all = file.names()?;
        let config = names::infer_lstm(prefix, all.iter().map(String::as_str), |name| file.shape(name).ok().flatten())?;
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

    /// The prefixes under which a safetensors file has a recurrent layer, sorted.
    ///
    /// # Errors
    /// As [`TensorFile::names`].
    pub fn prefixes_in(file: &TensorFile) -> Result<Vec<String>> {
        Ok(names::prefixes(file.names()?.iter().map(String::as_str)))
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

/// An [`Lstm`] on a device, ready to run. May be used from several threads at once.
///
/// It keeps the buffers of the last few shapes, so that a call of a shape that it knows creates nothing on the device.
#[derive(Debug)]
pub struct PlacedLstm<F = f32> {
    config: LstmConfig,
    device: Device,
    model: PlacedModel<F>,
}

impl<F: Real> PlacedLstm<F> {
    /// Runs the LSTM: output and last state, as `module(input, (h_0, c_0))` in PyTorch.
    ///
    /// | | batched | batch_first | unbatched |
    /// |---|---|---|---|
    /// | input | `[T, B, I]` | `[B, T, I]` | `[T, I]` |
    /// | output | `[T, B, D·H]` | `[B, T, D·H]` | `[T, D·H]` |
    /// | h, c | `[L·D, B, H]` | `[L·D, B, H]` | `[L·D, H]` |
    ///
    /// No state means zeros. B = 0 gives empty results; T = 0 gives the state back, where PyTorch raises an error.
    ///
    /// # Errors
    /// [`Error::Shape`] for an input or state of the wrong shape, [`Error::Limit`] for a shape that the device cannot hold,
    /// both before any work; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn forward(&self, input: &Tensor<F>, state: Option<&LstmState<F>>) -> Result<(Tensor<F>, LstmState<F>)> {
        pollster::block_on(self.run(input, state, Wait::Blocking))
    }

    /// [`forward`](Self::forward) without blocking. The CPU path computes inside the call.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub async fn forward_async(
        &self,
        input: &Tensor<F>,
        state: Option<&LstmState<F>>,
    ) -> Result<(Tensor<F>, LstmState<F>)> {
        self.run(input, state, Wait::Async).await
    }

    async fn run(
        &self,
        input: &Tensor<F>,
        state: Option<&LstmState<F>>,
        wait: Wait,
    ) -> Result<(Tensor<F>, LstmState<F>)> {
        let initial = state.map(|state| [&state.h, &state.c]);
        let (output, last) = self.model.forward(input, initial.as_ref().map(|s| s.as_slice()), wait).await?;
        match <[Tensor<F>; 2]>::try_from(last) {
            Ok([h, c]) => Ok((output, LstmState { h, c })),
            Err(last) => {
                Err(Error::Shape { what: "states".to_owned(), expected: "[2]".to_owned(), got: vec![last.len()] })
            }
        }
    }

    /// What a forward of T = `time_steps` and B = `batch` will do on the GPU.
    ///
    /// # Errors
    /// [`Error::Limit`] when the device cannot hold it; [`Error::Unsupported`] on the CPU.
    pub fn plan(&self, time_steps: usize, batch: usize) -> Result<Plan> {
        match &self.model.place {
            Place::Cpu(_) => Err(needs_gpu("a plan of dispatches")),
            Place::Gpu(model) => model.plan(Sequence::batched(&self.config.0, time_steps, batch)),
        }
    }

    /// Records a forward of T = `time_steps` and B = `batch` into `encoder`, over buffers on the same device: no submission,
    /// no wait, no readback. Device memory is made at the first recording of a shape.
    ///
    /// # Errors
    /// [`Error::Buffer`] for a buffer that is too small, lacks a usage or stands for two things; [`Error::Limit`] for a shape
    /// that the device cannot hold; [`Error::Unsupported`] on the CPU; [`Error::Gpu`] for a buffer of another device,
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`]. Nothing has been recorded then. wgpu reports an initial state or an
    /// encoder of another device only when the encoder is finished.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        time_steps: usize,
        batch: usize,
        buffers: &LstmBuffers<'_>,
    ) -> Result<()> {
        pollster::block_on(self.record(encoder, time_steps, batch, buffers, Wait::Blocking))
    }

    /// [`encode`](Self::encode) without blocking on what the first recording of a shape has to create.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub async fn encode_async(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        time_steps: usize,
        batch: usize,
        buffers: &LstmBuffers<'_>,
    ) -> Result<()> {
        self.record(encoder, time_steps, batch, buffers, Wait::Async).await
    }

    async fn record(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        time_steps: usize,
        batch: usize,
        buffers: &LstmBuffers<'_>,
        wait: Wait,
    ) -> Result<()> {
        let Place::Gpu(model) = &self.model.place else {
            return Err(needs_gpu("recording into a command encoder"));
        };
        let sequence = Sequence::batched(&self.config.0, time_steps, batch);
        if batch == 0 {
            return Ok(());
        }
        let bytes = model.plan(sequence)?.bytes;
        buffers.check(bytes.input, bytes.output, bytes.state)?;
        let io = EncodeIo {
            io: Io {
                input: buffers.input.clone(),
                output: buffers.output.clone(),
                states: vec![buffers.h_n.clone(), buffers.c_n.clone()],
            },
            initial: buffers.initial.map(|(h_0, c_0)| vec![h_0, c_0]),
        };
        model.encode(encoder, sequence, &io, wait).await
    }

    /// The configuration.
    pub fn config(&self) -> &LstmConfig {
        &self.config
    }

    /// Where it runs.
    pub fn device(&self) -> &Device {
        &self.device
    }
}

/// The caller's device buffers for [`PlacedLstm::encode`]: f32, dense, in PyTorch's shapes. They may be larger than needed.
///
/// | buffer | shape | usages |
/// |---|---|---|
/// | input | `[T, B, I]`, batch_first `[B, T, I]` | `STORAGE` |
/// | output | `[T, B, D·H]`, batch_first `[B, T, D·H]` | `STORAGE` |
/// | h_n, c_n | `[L·D, B, H]` | `STORAGE`, `COPY_DST` |
/// | h_0, c_0 | `[L·D, B, H]` | `COPY_SRC` |
///
/// The initial states are copied before anything is computed, so h_0 and c_0 may be the very buffers of h_n and c_n: a
/// state that is carried from call to call. All others must be different buffers.
#[derive(Clone, Copy, Debug)]
pub struct LstmBuffers<'a> {
    input: &'a wgpu::Buffer,
    output: &'a wgpu::Buffer,
    h_n: &'a wgpu::Buffer,
    c_n: &'a wgpu::Buffer,
    initial: Option<(&'a wgpu::Buffer, &'a wgpu::Buffer)>,
}

impl<'a> LstmBuffers<'a> {
    /// Buffers of a forward from zero states.
    pub fn new(
        input: &'a wgpu::Buffer,
        output: &'a wgpu::Buffer,
        h_n: &'a wgpu::Buffer,
        c_n: &'a wgpu::Buffer,
    ) -> Self {
        Self { input, output, h_n, c_n, initial: None }
    }

    /// The same from the given initial states.
    #[must_use]
    pub fn initial(mut self, h_0: &'a wgpu::Buffer, c_0: &'a wgpu::Buffer) -> Self {
        self.initial = Some((h_0, c_0));
        self
    }

    fn check(&self, input: u64, output: u64, state: u64) -> Result<()> {
        use wgpu::BufferUsages as Use;
        let in_place = Use::STORAGE | Use::COPY_DST;
        let mut needs = vec![
            ("input", self.input, input, Use::STORAGE),
            ("output", self.output, output, Use::STORAGE),
            ("h_n", self.h_n, state, in_place),
            ("c_n", self.c_n, state, in_place),
        ];
        for (i, (name, buffer, ..)) in needs.iter().enumerate() {
            if let Some((other, ..)) = needs[..i].iter().find(|(_, earlier, ..)| earlier == buffer) {
                let expected = format!("a buffer other than {other}'s");
                return Err(Error::Buffer { name, expected, got: "the same".to_owned() });
            }
        }
        if let Some((h_0, c_0)) = self.initial {
            needs.push(("h_0", h_0, state, Use::COPY_SRC));
            needs.push(("c_0", c_0, state, Use::COPY_SRC));
        }
        for (name, buffer, bytes, usage) in needs {
            if buffer.size() < bytes {
                let (expected, got) = (format!("at least {bytes} bytes"), format!("{} bytes", buffer.size()));
                return Err(Error::Buffer { name, expected, got });
            }
            if !buffer.usage().contains(usage) {
                let (expected, got) = (format!("usages {usage:?}"), format!("{:?}", buffer.usage()));
                return Err(Error::Buffer { name, expected, got });
            }
        }
        Ok(())
    }
}
