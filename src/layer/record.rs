//! Recording a layer into the caller's command encoder.

use crate::blocking::Wait;
use crate::call::{Call, Results, Task};
use crate::device::needs_gpu;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::extents::Extents;
use crate::layer::buffers::{BufferSizes, Buffers};
use crate::layer::kind::Kind;
use crate::layer::placed::Placed;
use crate::model::Engine;
use crate::options::Options;
use crate::real::Real;
use crate::request::{Request, Rows, sealed};

/// The question of [`Placed::request_encode`].
pub struct Encode<'a, K: Kind, F: Real> {
    placed: &'a Placed<K, F>,
    encoder: &'a mut wgpu::CommandEncoder,
    time_steps: usize,
    batch: usize,
    buffers: &'a Buffers<'a, K>,
    options: Options<'a>,
}

impl<K: Kind, F: Real> Placed<K, F> {
    /// Records a forward of T = `time_steps` and B = `batch` into `encoder`, over buffers on the same device: no
    /// submission, no wait, no readback. Device memory is made at the first recording of a shape; each recording has a
    /// small separate buffer for its lengths. [`request_encode`](Self::request_encode) accepts lengths, and does not
    /// block.
    ///
    /// All dispatches go into one pass, however many there are. A submission of seconds may get the GPU reset by the
    /// operating system: where [`plan`](Self::plan) counts more than one submission, record pieces of the sequence,
    /// each from the state of the one before, and submit them apart.
    ///
    /// ```no_run
    /// use wgpu_rnn::{Device, Lstm, LstmBuffers, LstmConfig, wgpu};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (device, queue): (wgpu::Device, wgpu::Queue) = unimplemented!();
    /// // `device` and `queue` are the program's own.
    /// let lstm = Lstm::random(LstmConfig::new(3, 8), 0)?;
    /// let lstm = lstm.to(&Device::from_wgpu(device.clone(), queue.clone()))?;
    ///
    /// let (t, b) = (100, 4);
    /// let buffer = |elements: usize| {
    ///     use wgpu::BufferUsages as Use;
    ///     device.create_buffer(&wgpu::BufferDescriptor {
    ///         label: None,
    ///         size: (elements * size_of::<f32>()) as u64,
    ///         usage: Use::STORAGE | Use::COPY_DST | Use::COPY_SRC,
    ///         mapped_at_creation: false,
    ///     })
    /// };
    /// let (input, output) = (buffer(t * b * 3), buffer(t * b * 8)); // [T, B, I], [T, B, H]
    /// let (h, c) = (buffer(b * 8), buffer(b * 8)); // [L·D, B, H]
    ///
    /// let mut encoder = device.create_command_encoder(&Default::default());
    /// // … the program's own passes, which write `input`
    /// // From h and c to h and c: the state is carried from call to call.
    /// let buffers = LstmBuffers::new(&input, &output, &h, &c).with_initial(&h, &c);
    /// lstm.encode(&mut encoder, t, b, &buffers)?;
    /// // … the program's own passes, which read `output`
    /// queue.submit([encoder.finish()]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Buffer`] for a buffer that is too small, lacks a usage or stands for two things; [`Error::Limit`] for a
    /// shape that the device cannot hold; [`Error::Unsupported`] on the CPU; [`Error::Gpu`] for a buffer of another
    /// device, [`Error::OutOfMemory`], [`Error::DeviceLost`]. Nothing has been recorded then. wgpu reports an initial
    /// state or an encoder of another device only when the encoder is finished, and cannot tell objects of another
    /// `wgpu::Instance`.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        time_steps: usize,
        batch: usize,
        buffers: &Buffers<'_, K>,
    ) -> Result<()> {
        let options = Options::new();
        let encode = Encode { placed: self, encoder, time_steps, batch, buffers, options };
        pollster::block_on(encode.record(Wait::Blocking))
    }

    /// Requests a recording with options that [`encode`](Self::encode) does not have: rows of different lengths, no
    /// blocking on what the first recording of a shape has to create. See [`Request`].
    ///
    /// # Errors
    /// When it runs, as [`encode`](Self::encode).
    pub fn request_encode<'a>(
        &'a self,
        encoder: &'a mut wgpu::CommandEncoder,
        time_steps: usize,
        batch: usize,
        buffers: &'a Buffers<'a, K>,
    ) -> Request<'a, (), Encode<'a, K, F>> {
        let options = Options::new();
        let encode = Encode { placed: self, encoder, time_steps, batch, buffers, options };
        Request::new(encode, |encode, wait| Box::pin(encode.record(wait)))
    }

    /// Returns the bytes that the arrays of a recording of T = `time_steps` and B = `batch` take.
    ///
    /// # Errors
    /// [`Error::Limit`] for a shape that the device cannot hold; [`Error::Unsupported`] on the CPU.
    pub fn buffer_sizes(&self, time_steps: usize, batch: usize) -> Result<BufferSizes> {
        let Engine::Gpu(model) = &self.model().engine else {
            return Err(needs_gpu("recording into a command encoder"));
        };
        let extents = Extents::batched(&self.config().0, time_steps, batch);
        let task = Task { results: Results::OnDevice, ..Task::forward(extents) };
        Ok(BufferSizes::of(&model.plan_forward(task)?))
    }
}

impl<K: Kind, F: Real> Encode<'_, K, F> {
    async fn record(self, wait: Wait) -> Result<()> {
        let Self { placed, encoder, time_steps, batch, buffers, options } = self;
        let Engine::Gpu(model) = &placed.model().engine else {
            return Err(needs_gpu("recording into a command encoder"));
        };
        let config = &placed.config().0;
        let extents = Extents::batched(config, time_steps, batch);
        let training = placed.training();
        let task = Task { dropout: training.is_some() && config.dropped_layers() > 0, ..Task::forward(extents) };
        let plan = model.plan_recording(task, buffers.arrays.output())?;
        let arrays = buffers.arrays.checked(config, &plan, model.device_limits())?;
        let call = Call::new(extents, &options)?;
        let keys = training.map(|training| training.next_keys(config.dropped_layers()));
        let call = call.with_dropout(keys.unwrap_or_default());
        if batch == 0 {
            return Ok(());
        }
        model.encode(encoder, plan, &call, arrays, wait).await
    }
}

impl<K: Kind, F: Real> sealed::Sealed for Encode<'_, K, F> {}

impl<'a, K: Kind, F: Real> Rows<'a> for Encode<'a, K, F> {
    fn set_lengths(&mut self, lengths: &'a [usize]) {
        self.options.lengths = Some(lengths);
    }

    fn set_padding_value(&mut self, padding_value: f64) {
        self.options.padding_value = padding_value;
    }
}
