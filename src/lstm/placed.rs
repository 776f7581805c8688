//! An LSTM on a device: forward, plan, and recording into a caller's encoder.

use crate::config::LstmConfig;
use crate::device::{Device, needs_gpu};
use crate::gpu::Wait;
use crate::gpu::model::EncodeIo;
use crate::gpu::workspace::Io;
use crate::lstm::{LstmBuffers, LstmState};
use crate::model::{Place, PlacedModel};
use crate::plan::Plan;
use crate::sequence::Sequence;
use crate::{Error, Real, Result, Tensor};

/// An [`Lstm`](crate::Lstm) on a device, ready to run. May be used from several threads at once.
///
/// It keeps the buffers of the last few shapes, so that a call of a shape that it knows creates nothing on the device.
#[derive(Debug)]
pub struct PlacedLstm<F = f32> {
    pub(super) config: LstmConfig,
    pub(super) device: Device,
    pub(super) model: PlacedModel<F>,
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
