//! Recording a layer into the caller's command encoder.

#[cfg(doc)]
use crate::Error;
use crate::call::{Call, Results, Task};
use crate::device::needs_gpu;
use crate::extents::Extents;
use crate::gpu::Wait;
use crate::layer::buffers::{BufferSizes, Buffers};
use crate::layer::kind::Kind;
use crate::layer::placed::Placed;
use crate::model::Place;
use crate::options::Options;
use crate::{Real, Result};

impl<K: Kind, F: Real> Placed<K, F> {
    /// Records a forward of T = `time_steps` and B = `batch` into `encoder`, over buffers on the same device: no submission,
    /// no wait, no readback. Device memory is made at the first recording of a shape; each
    /// recording has a small buffer of its own for its lengths.
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
        pollster::block_on(self.record(encoder, time_steps, batch, buffers, &Options::new(), Wait::Blocking))
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
        self.record(encoder, time_steps, batch, buffers, &Options::new(), Wait::Async).await
    }

    /// [`encode`](Self::encode) with options: rows of different lengths.
    ///
    /// # Errors
    /// As [`encode`](Self::encode); [`Error::Shape`] unless there is a length for each row, [`Error::Config`] for a length
    /// above T.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn encode_with(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        time_steps: usize,
        batch: usize,
        buffers: &Buffers<'_, K>,
        options: &Options<'_>,
    ) -> Result<()> {
        pollster::block_on(self.record(encoder, time_steps, batch, buffers, options, Wait::Blocking))
    }

    /// [`encode_with`](Self::encode_with) without blocking on what the first recording of a shape has to create.
    ///
    /// # Errors
    /// As [`encode_with`](Self::encode_with).
    pub async fn encode_with_async(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        time_steps: usize,
        batch: usize,
        buffers: &Buffers<'_, K>,
        options: &Options<'_>,
    ) -> Result<()> {
        self.record(encoder, time_steps, batch, buffers, options, Wait::Async).await
    }

    /// The bytes that the arrays of a recording of T = `time_steps` and B = `batch` take.
    ///
    /// # Errors
    /// [`Error::Limit`] for a shape that the device cannot hold; [`Error::Unsupported`] on the CPU.
    pub fn buffer_sizes(&self, time_steps: usize, batch: usize) -> Result<BufferSizes> {
        let Place::Gpu(model) = &self.model.place else {
            return Err(needs_gpu("recording into a command encoder"));
        };
        let task =
            Task { results: Results::OnDevice, ..Task::forward(Extents::batched(&self.config.0, time_steps, batch)) };
        Ok(BufferSizes::of(&model.plan_forward(task)?))
    }

    async fn record(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        time_steps: usize,
        batch: usize,
        buffers: &Buffers<'_, K>,
        options: &Options<'_>,
        wait: Wait,
    ) -> Result<()> {
        let Place::Gpu(model) = &self.model.place else {
            return Err(needs_gpu("recording into a command encoder"));
        };
        let extents = Extents::batched(&self.config.0, time_steps, batch);
        let task = Task { dropout: self.drops_out(), ..Task::forward(extents) };
        let plan = model.plan_recording(task, buffers.output.buffer())?;
        let arrays = buffers.checked(&self.config.0, &plan, model.device_limits())?;
        let call = Call::new(extents, options)?;
        let keys = self.training.as_ref().map(|training| training.next_keys(self.config.0.dropped_layers()));
        let call = call.with_dropout(keys.unwrap_or_default());
        if batch == 0 {
            return Ok(());
        }
        model.encode(encoder, plan, &call, arrays, wait).await
    }
}
