//! Recording a training pass into the caller's command encoder.

use std::fmt;

use crate::blocking::Wait;
use crate::call::{Call, Task};
use crate::device::needs_gpu;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::extents::Extents;
use crate::gpu::record_train::RecordedTape;
use crate::gradients::zero_weights;
use crate::layer::buffers::{Buffers, DeviceArray};
use crate::layer::gradient_buffers::GradientBuffers;
use crate::layer::gradients::WeightGradients;
use crate::layer::kind::Kind;
use crate::layer::placed::Placed;
use crate::model::Engine;
use crate::options::Options;
use crate::pass::OfWeights;
use crate::real::Real;
use crate::request::{Request, Rows, sealed};

/// A recorded forward that keeps what its backward needs: the result of [`Placed::encode_train`]. It borrows the layer,
/// so that no [step](crate::Step) of it can be recorded in between, and the buffers of input and output, whose content
/// has to stay until the backward has run.
pub struct RecordedPass<'a, K: Kind, F: Real = f32> {
    placed: &'a Placed<K, F>,
    /// `None` if there is nothing to compute.
    tape: Option<RecordedTape<'a>>,
    /// Input and output.
    arrays: [DeviceArray<'a>; 2],
}

/// The question of [`Placed::request_encode_train`].
pub struct EncodeTrain<'a, 'e, K: Kind, F: Real> {
    placed: &'a Placed<K, F>,
    encoder: &'e mut wgpu::CommandEncoder,
    time_steps: usize,
    batch: usize,
    buffers: Buffers<'a, K>,
    options: Options<'e>,
}

impl<K: Kind, F: Real> Placed<K, F> {
    /// Records a forward like [`encode`](Self::encode), and keeps what its backward needs on the device:
    /// [`RecordedPass::encode_backward`] records that, and [`Step::encode`](crate::Step::encode) a step of an optimiser
    /// with the gradients, between the program's own passes. Nothing is submitted, waited for or read back.
    ///
    /// Recordings of passes share the model's own buffers, so they have to be submitted in the order in which they were
    /// recorded. [`request_encode_train`](Self::request_encode_train) accepts lengths, and does not block.
    ///
    /// ```no_run
    /// use wgpu_rnn::{AdamW, Device, Gru, GruBuffers, GruConfig, GruGradientBuffers, Optimizer, wgpu};
    ///
    /// # fn example(device: wgpu::Device, queue: wgpu::Queue) -> Result<(), wgpu_rnn::Error> {
    /// # let buffer = |elements: usize| device.create_buffer(&wgpu::BufferDescriptor {
    /// #     label: None, size: 4 * elements as u64, usage: wgpu::BufferUsages::STORAGE, mapped_at_creation: false,
    /// # });
    /// // `device` and `queue` are the program's own.
    /// let gpu = Device::from_wgpu(device.clone(), queue.clone());
    /// let mut gru = Gru::random(GruConfig::new(3, 8), 0)?.to(&gpu)?;
    /// let mut optimizer = Optimizer::new(AdamW::new())?;
    ///
    /// let (t, b) = (100, 4);
    /// let (input, output, h) = (buffer(t * b * 3), buffer(t * b * 8), buffer(b * 8));
    /// let of_output = buffer(t * b * 8);
    /// let (head, of_head) = (buffer(8), buffer(8)); // the program's own
    ///
    /// for step in 0..1000 {
    ///     let mut encoder = device.create_command_encoder(&Default::default());
    ///     // … the program's own passes, which write `input`
    ///     let buffers = GruBuffers::new(&input, &output, &h);
    ///     let pass = gru.encode_train(&mut encoder, t, b, &buffers)?;
    ///     // … the program's own passes: the loss, and its gradients `of_output` and `of_head`
    ///     let gradients = pass.encode_backward(&mut encoder, &GruGradientBuffers::new().with_output(&of_output))?;
    ///
    ///     let mut update = optimizer.step(1e-3).clip_norm(1.0);
    ///     update.layer("gru.", &mut gru, &gradients).buffer("head", &gpu, &head, &of_head);
    ///     update.encode(&mut encoder, None)?;
    ///     queue.submit([encoder.finish()]);
    /// }
    /// gru.to_layer()?.save_safetensors("trained.safetensors", "")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [`encode`](Self::encode); [`Error::Unsupported`] for weights in
    /// [`Precision::F16`](crate::Precision::F16).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn encode_train<'a>(
        &'a self,
        encoder: &mut wgpu::CommandEncoder,
        time_steps: usize,
        batch: usize,
        buffers: &Buffers<'a, K>,
    ) -> Result<RecordedPass<'a, K, F>> {
        let (buffers, options) = (buffers.clone(), Options::new());
        let encode = EncodeTrain { placed: self, encoder, time_steps, batch, buffers, options };
        pollster::block_on(encode.record(Wait::Blocking))
    }

    /// Requests a recording with options that [`encode_train`](Self::encode_train) does not have: rows of different
    /// lengths, no blocking on what the first recording of a shape has to create. See [`Request`].
    ///
    /// # Errors
    /// When it runs, as [`encode_train`](Self::encode_train).
    pub fn request_encode_train<'a: 'e, 'e>(
        &'a self,
        encoder: &'e mut wgpu::CommandEncoder,
        time_steps: usize,
        batch: usize,
        buffers: &Buffers<'a, K>,
    ) -> Request<'e, RecordedPass<'a, K, F>, EncodeTrain<'a, 'e, K, F>> {
        let (buffers, options) = (buffers.clone(), Options::new());
        let encode = EncodeTrain { placed: self, encoder, time_steps, batch, buffers, options };
        Request::new(encode, |encode, wait| Box::pin(encode.record(wait)))
    }
}

impl<'a, K: Kind, F: Real> EncodeTrain<'a, '_, K, F> {
    async fn record(self, wait: Wait) -> Result<RecordedPass<'a, K, F>> {
        let Self { placed, encoder, time_steps, batch, buffers, options } = self;
        let (Engine::Gpu(model), Some(arrays)) = (&placed.model().engine, buffers.of_backward()) else {
            return Err(needs_gpu("recording into a command encoder"));
        };
        placed.model().check_trainable()?;
        let config = &placed.config().0;
        let extents = Extents::batched(config, time_steps, batch);
        let training = placed.training();
        let task = Task { dropout: training.is_some() && config.dropped_layers() > 0, ..Task::forward(extents) };
        let plan = model.plan_recorded_training(task)?;
        let given = buffers.arrays.checked(config, &plan.forward, model.device_limits())?;
        let call = Call::new(extents, &options)?;
        let keys = training.map(|training| training.next_keys(config.dropped_layers()));
        let call = call.with_dropout(keys.unwrap_or_default());
        let tape = match batch {
            0 => None,
            _ => Some(model.encode_train(encoder, plan, &call, given, wait).await?),
        };
        Ok(RecordedPass { placed, tape, arrays })
    }
}

impl<'a, K: Kind, F: Real> RecordedPass<'a, K, F> {
    /// Records the backward into `encoder`, the same as the forward's or one that is submitted later: from gradients of
    /// a loss with respect to output and last state to those with respect to input, initial state and weights. Those of
    /// the weights stay on the device, and may be read once the recording has been submitted.
    ///
    /// # Errors
    /// [`Error::Buffer`] for a buffer that is too small, lacks a usage or stands for two things; [`Error::Gpu`] for one
    /// of another device, [`Error::OutOfMemory`], [`Error::DeviceLost`]. Nothing has been recorded then. As with
    /// [`Placed::encode`], wgpu reports an encoder or gradients of states of another device only when the encoder is
    /// finished, and a device that it has not reported as lost yet accepts recordings.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn encode_backward(
        self,
        encoder: &mut wgpu::CommandEncoder,
        buffers: &GradientBuffers<'_, K>,
    ) -> Result<WeightGradients<K, F>> {
        pollster::block_on(self.record(encoder, buffers))
    }

    /// Requests the [recording](Self::encode_backward), which does not have to block. See [`Request`].
    ///
    /// # Errors
    /// When it runs, as [`encode_backward`](Self::encode_backward).
    pub fn request_encode_backward<'e>(
        self,
        encoder: &'e mut wgpu::CommandEncoder,
        buffers: &'e GradientBuffers<'e, K>,
    ) -> Request<'e, WeightGradients<K, F>>
    where
        'a: 'e,
    {
        Request::plain(async move |_| self.record(encoder, buffers).await)
    }

    async fn record(
        self,
        encoder: &mut wgpu::CommandEncoder,
        buffers: &GradientBuffers<'_, K>,
    ) -> Result<WeightGradients<K, F>> {
        let (config, model) = (&self.placed.config().0, self.placed.model());
        let mut gradients = None;
        if let (Some(tape), Engine::Gpu(model)) = (self.tape, &model.engine)
            && let Some(plan) = tape.plan()
        {
            let given = buffers.checked(&plan.forward, &self.arrays, model.device_limits())?;
            gradients = tape.encode_backward(encoder, given).await?;
        }
        let gradients = match gradients {
            Some(gradients) => OfWeights::Device(gradients),
            None => OfWeights::Host(zero_weights(config)?),
        };
        Ok(WeightGradients::new(config, gradients))
    }
}

/// Writes the layer.
impl<K: Kind, F: Real> fmt::Debug for RecordedPass<'_, K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordedPass({})", self.placed)
    }
}

impl<K: Kind, F: Real> sealed::Sealed for EncodeTrain<'_, '_, K, F> {}

impl<'e, K: Kind, F: Real> Rows<'e> for EncodeTrain<'_, 'e, K, F> {
    fn set_lengths(&mut self, lengths: &'e [usize]) {
        self.options.lengths = Some(lengths);
    }

    fn set_padding_value(&mut self, padding_value: f64) {
        self.options.padding_value = padding_value;
    }
}
