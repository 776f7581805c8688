//! Recording a cell's step into the caller's command encoder.

use crate::blocking::Wait;
use crate::call::Call;
use crate::cell::buffers::{CellBufferSizes, CellBuffers};
use crate::cell::placed::PlacedCell;
use crate::cell::shape::StepShape;
use crate::device::needs_gpu;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::gpu::model::GpuModel;
use crate::layer::buffers::BufferSizes;
use crate::layer::kind::Kind;
use crate::model::Engine;
use crate::options::Options;
use crate::plan::Plan;
use crate::real::Real;
use crate::request::Request;

impl<K: Kind, F: Real> PlacedCell<K, F> {
    /// Records a step of B = `batch` rows into `encoder`, over buffers on the same device: no submission, no wait, no
    /// readback. The state lies in the caller's buffers, so that kernels of the program's own can work on it between
    /// the steps, and a sequence of such steps is one submission. Device memory is made at the first recording of a
    /// batch; each recording has a small separate buffer. [`request_encode`](Self::request_encode) does not block.
    ///
    /// ```no_run
    /// use wgpu_rnn::{Device, LstmCell, LstmCellBuffers, LstmCellConfig, wgpu};
    ///
    /// # fn decay(encoder: &mut wgpu::CommandEncoder, c: &wgpu::Buffer) {}
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (device, queue): (wgpu::Device, wgpu::Queue) = unimplemented!();
    /// // `device` and `queue` are the program's own.
    /// let cell = LstmCell::random(LstmCellConfig::new(64, 32), 0)?;
    /// let cell = cell.to(&Device::from_wgpu(device.clone(), queue.clone()))?;
    ///
    /// let (steps, batch) = (10, 4);
    /// let sizes = cell.buffer_sizes(batch)?;
    /// let buffer = |size: u64| {
    ///     use wgpu::BufferUsages as Use;
    ///     let usage = Use::STORAGE | Use::COPY_DST | Use::COPY_SRC;
    ///     device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    /// };
    /// let input = buffer(steps * sizes.input); // [T, B, I]; 1024 bytes of each step are a multiple of any alignment
    /// let (h, c) = (buffer(sizes.h), buffer(sizes.c.unwrap_or(0))); // [B, H], zeros
    ///
    /// let mut encoder = device.create_command_encoder(&Default::default());
    /// for t in 0..steps {
    ///     decay(&mut encoder, &c); // a pass of the program's own, which changes c
    ///     let x_t = input.slice(t * sizes.input..(t + 1) * sizes.input);
    ///     // From h and c to h and c: the state is carried in place.
    ///     cell.encode(&mut encoder, batch, &LstmCellBuffers::new(x_t, &h, &c).with_initial(&h, &c))?;
    /// }
    /// queue.submit([encoder.finish()]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Buffer`] for a buffer that is too small, lacks a usage or stands for two things; [`Error::Limit`] for a
    /// batch that the device cannot hold; [`Error::Unsupported`] on the CPU; [`Error::Gpu`] for a buffer of another
    /// device, [`Error::OutOfMemory`], [`Error::DeviceLost`]. Nothing has been recorded then. wgpu reports an initial
    /// state or an encoder of another device only when the encoder is finished, and cannot tell objects of another
    /// `wgpu::Instance`.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn encode(&self, encoder: &mut wgpu::CommandEncoder, batch: usize, buffers: &CellBuffers<'_, K>) -> Result<()> {
        pollster::block_on(self.record(encoder, batch, buffers, Wait::Blocking))
    }

    /// Requests a recording as by [`encode`](Self::encode) that need not block on what the first one of a batch has to
    /// create. See [`Request`].
    ///
    /// # Errors
    /// When it runs, as [`encode`](Self::encode).
    pub fn request_encode<'a>(
        &'a self,
        encoder: &'a mut wgpu::CommandEncoder,
        batch: usize,
        buffers: &'a CellBuffers<'a, K>,
    ) -> Request<'a, ()> {
        Request::plain(move |wait| self.record(encoder, batch, buffers, wait))
    }

    /// Returns the bytes that the arrays of a recorded step of B = `batch` rows take.
    ///
    /// # Errors
    /// [`Error::Limit`] for a batch that the device cannot hold; [`Error::Unsupported`] on the CPU.
    pub fn buffer_sizes(&self, batch: usize) -> Result<CellBufferSizes> {
        let (_, plan) = self.recording(&self.step_call(batch)?)?;
        Ok(BufferSizes::of(&plan).into())
    }

    async fn record(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        batch: usize,
        buffers: &CellBuffers<'_, K>,
        wait: Wait,
    ) -> Result<()> {
        let call = self.step_call(batch)?;
        let (model, plan) = self.recording(&call)?;
        let arrays = buffers.arrays.checked(&self.config().0, &plan, model.device_limits())?;
        if batch == 0 {
            return Ok(());
        }
        model.encode(encoder, plan, &call, arrays, wait).await
    }

    fn step_call(&self, batch: usize) -> Result<Call> {
        Call::new(StepShape(Some(batch)).extents(), &Options::new())
    }

    fn recording(&self, call: &Call) -> Result<(&GpuModel, Plan)> {
        let Engine::Gpu(model) = &self.model().engine else {
            return Err(needs_gpu("recording into a command encoder"));
        };
        Ok((model, model.plan_recording(call.task, None)?))
    }
}
