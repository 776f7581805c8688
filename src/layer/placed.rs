//! A layer on a device: forward, plan, and recording into a caller's encoder.

use crate::device::{Device, needs_gpu};
use crate::gpu::Wait;
use crate::gpu::model::EncodeIo;
use crate::gpu::workspace::{Io, States};
use crate::layer::buffers::Buffers;
use crate::layer::config::Config;
use crate::layer::kind::Kind;
use crate::layer::streams::Streams;
use crate::model::{Place, PlacedModel};
use crate::options::Options;
use crate::plan::{Plan, StateRows};
use crate::sequence::Sequence;
use crate::session::Session;
use crate::{Error, Real, Result, Tensor};

/// A [`Layer`](crate::Layer) on a device, ready to run: [`PlacedLstm`](crate::PlacedLstm), [`PlacedGru`](crate::PlacedGru) or
/// [`PlacedRnn`](crate::PlacedRnn). May be used from several threads at once.
///
/// It keeps the buffers of the last few shapes, so that a call of a shape that it knows creates nothing on the device.
#[derive(Debug)]
pub struct Placed<K, F = f32> {
    pub(super) config: Config<K>,
    pub(super) device: Device,
    pub(super) model: PlacedModel<F>,
}

impl<K: Kind, F: Real> Placed<K, F> {
    /// Runs the layer: output and last state, as `module(input, state)` in PyTorch. The state of an LSTM is
    /// [`LstmState`](crate::LstmState), `(h, c)`; of a GRU or RNN it is h, a [`Tensor`].
    ///
    /// | | batched | batch_first | unbatched |
    /// |---|---|---|---|
    /// | input | `[T, B, I]` | `[B, T, I]` | `[T, I]` |
    /// | output | `[T, B, D·P]` | `[B, T, D·P]` | `[T, D·P]` |
    /// | h | `[L·D, B, P]` | `[L·D, B, P]` | `[L·D, P]` |
    /// | c of an LSTM | `[L·D, B, H]` | `[L·D, B, H]` | `[L·D, H]` |
    ///
    /// P is H, but for an LSTM with `proj_size`.
    ///
    /// No state means zeros. B = 0 gives empty results; T = 0 gives the state back, where PyTorch raises an error.
    ///
    /// # Errors
    /// [`Error::Shape`] for an input or state of the wrong shape, [`Error::Limit`] for a shape that the device cannot hold,
    /// both before any work; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn forward(&self, input: &Tensor<F>, state: Option<&K::State<F>>) -> Result<(Tensor<F>, K::State<F>)> {
        pollster::block_on(self.run(input, state, &Options::new(), Wait::Blocking))
    }

    /// [`forward`](Self::forward) without blocking. The CPU path computes inside the call.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub async fn forward_async(
        &self,
        input: &Tensor<F>,
        state: Option<&K::State<F>>,
    ) -> Result<(Tensor<F>, K::State<F>)> {
        self.run(input, state, &Options::new(), Wait::Async).await
    }

    /// [`forward`](Self::forward) with options: rows of different lengths.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`Error::Shape`](crate::Error::Shape) unless there is a length for each row,
    /// [`Error::Config`](crate::Error::Config) for a length above T.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn forward_with(
        &self,
        input: &Tensor<F>,
        state: Option<&K::State<F>>,
        options: &Options<'_>,
    ) -> Result<(Tensor<F>, K::State<F>)> {
        pollster::block_on(self.run(input, state, options, Wait::Blocking))
    }

    /// [`forward_with`](Self::forward_with) without blocking.
    ///
    /// # Errors
    /// As [`forward_with`](Self::forward_with).
    pub async fn forward_with_async(
        &self,
        input: &Tensor<F>,
        state: Option<&K::State<F>>,
        options: &Options<'_>,
    ) -> Result<(Tensor<F>, K::State<F>)> {
        self.run(input, state, options, Wait::Async).await
    }

    async fn run(
        &self,
        input: &Tensor<F>,
        state: Option<&K::State<F>>,
        options: &Options<'_>,
        wait: Wait,
    ) -> Result<(Tensor<F>, K::State<F>)> {
        let initial = state.map(K::arrays);
        let (output, last) = self.model.forward(input, initial.as_deref(), options, wait).await?;
        Ok((output, K::state(last)?))
    }

    /// As many streams with zero states, which stay where the layer is: [`Streams`].
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a bidirectional layer: its reverse direction starts at the end of a sequence, and a stream
    /// has none. [`Error::Limit`] when the device cannot hold the states, [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn streams(&self, count: usize) -> Result<Streams<K, F>> {
        pollster::block_on(self.streams_async(count))
    }

    /// [`streams`](Self::streams) without blocking.
    ///
    /// # Errors
    /// As [`streams`](Self::streams).
    pub async fn streams_async(&self, count: usize) -> Result<Streams<K, F>> {
        if self.config.0.bidirectional {
            return Err(Error::Unsupported {
                what: "a bidirectional layer over streams".to_owned(),
                why: "its reverse direction starts at the end of a sequence, and a stream has none".to_owned(),
            });
        }
        let session = Session::new(&self.model, count.max(1)).await?;
        Ok(Streams::new(self.config.clone(), session, count))
    }

    /// What a forward of T = `time_steps` and B = `batch` will do on the GPU.
    ///
    /// # Errors
    /// [`Error::Limit`] when the device cannot hold it; [`Error::Unsupported`] on the CPU.
    pub fn plan(&self, time_steps: usize, batch: usize) -> Result<Plan> {
        match &self.model.place {
            Place::Cpu(_) => Err(needs_gpu("a plan of dispatches")),
            Place::Gpu(model) => {
                model.plan(Sequence::batched(&self.config.0, time_steps, batch), StateRows::of_batch(batch))
            }
        }
    }

    /// Records a forward of T = `time_steps` and B = `batch` into `encoder`, over buffers on the same device: no submission,
    /// no wait, no readback. Device memory is made at the first recording of a shape.
    ///
    /// All dispatches go into one pass, however many there are. A submission of seconds may get the GPU reset by the operating
    /// system: where [`plan`](Self::plan) counts more than one submission, record pieces of the sequence, each from the state
    /// of the one before, and submit them apart.
    ///
    /// # Errors
    /// [`Error::Buffer`] for a buffer that is too small, lacks a usage or stands for two things; [`Error::Limit`] for a shape
    /// that the device cannot hold; [`Error::Unsupported`] on the CPU; [`Error::Gpu`] for a buffer of another device,
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`]. Nothing has been recorded then. wgpu reports an initial state or an
    /// encoder of another device only when the encoder is finished, and cannot tell objects of another `wgpu::Instance`.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        time_steps: usize,
        batch: usize,
        buffers: &Buffers<'_, K>,
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
        buffers: &Buffers<'_, K>,
    ) -> Result<()> {
        self.record(encoder, time_steps, batch, buffers, Wait::Async).await
    }

    async fn record(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        time_steps: usize,
        batch: usize,
        buffers: &Buffers<'_, K>,
        wait: Wait,
    ) -> Result<()> {
        let Place::Gpu(model) = &self.model.place else {
            return Err(needs_gpu("recording into a command encoder"));
        };
        let sequence = Sequence::batched(&self.config.0, time_steps, batch);
        let bytes = model.plan(sequence, StateRows::of_batch(batch))?.bytes;
        buffers.check(&self.config.0, &bytes)?;
        let io = EncodeIo {
            io: Io {
                input: buffers.input.clone(),
                output: buffers.output.clone(),
                last: States {
                    h: buffers.h_n.clone(),
                    carried: buffers.carried.iter().map(|&state| state.clone()).collect(),
                },
            },
            initial: buffers.initial.clone(),
        };
        if batch == 0 {
            return Ok(());
        }
        model.encode(encoder, sequence, &io, wait).await
    }

    /// The configuration.
    pub fn config(&self) -> &Config<K> {
        &self.config
    }

    /// Where it runs.
    pub fn device(&self) -> &Device {
        &self.device
    }
}
