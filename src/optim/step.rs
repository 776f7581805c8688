//! One step of an optimiser, over everything that it changes together.

use std::sync::Arc;

use crate::blocking::Wait;
use crate::device::{Backend, Device, needs_gpu};
use crate::error::{Error, Result};
use crate::layer::buffers::DeviceArray;
use crate::layer::gradients::WeightGradients;
use crate::layer::kind::Kind;
use crate::layer::need::Need;
use crate::layer::placed::Placed;
use crate::model::Engine;
use crate::optim::Optimizer;
use crate::optim::on_device::{self, DeviceTarget, OfArray};
use crate::optim::on_host::{self, HostTarget, OfTensor};
use crate::plan::optim::WORD;
use crate::real::Real;
use crate::request::Request;
use crate::tensor::Tensor;

/// A step of an [`Optimizer`] that is being described: the layers and tensors that it changes, and how their gradients
/// are clipped. It changes nothing until it is run, and then all of them or, after an error, none.
#[must_use = "a step changes nothing until it is run"]
pub struct Step<'a, F: Real = f32> {
    pub(super) optimizer: &'a mut Optimizer<F>,
    pub(super) lr: Result<f64>,
    pub(super) clip_value: Option<f64>,
    pub(super) clip_norm: Option<f64>,
    pub(super) on_host: Vec<Box<dyn HostTarget<F> + 'a>>,
    pub(super) on_device: Vec<Box<dyn DeviceTarget + 'a>>,
    /// The first error of a description.
    pub(super) error: Option<Error>,
}

impl<'a, F: Real> Step<'a, F> {
    pub(super) fn new(optimizer: &'a mut Optimizer<F>, lr: Result<f64>) -> Self {
        let (on_host, on_device) = (Vec::new(), Vec::new());
        Self { optimizer, lr, clip_value: None, clip_norm: None, on_host, on_device, error: None }
    }

    /// Limits every element of the gradients to ±`value`, as `torch.nn.utils.clip_grad_value_` does.
    pub fn clip_value(mut self, value: f64) -> Self {
        self.clip_value = Some(value);
        self
    }

    /// Scales all gradients of the step together so that their norm is at most `norm`, as
    /// `torch.nn.utils.clip_grad_norm_` does: by `norm / (their norm + 1e-6)` if that is below 1. With both limits,
    /// that of the values acts first.
    pub fn clip_norm(mut self, norm: f64) -> Self {
        self.clip_norm = Some(norm);
        self
    }

    /// Adds a layer. Its parameters are named as in files: `prefix` and PyTorch's name, such as "encoder.weight_ih_l0".
    ///
    /// Clones of the layer and open streams keep the weights that they have: the step gives this layer its own. Its
    /// mode and masks stay as they are. A layer on a GPU is changed there, in place unless clones or streams need the
    /// present weights. Submit recordings of the layer before a step is [run](Self::run): those that come later may
    /// find either weights.
    pub fn layer<K: Kind>(
        &mut self,
        prefix: &str,
        layer: &'a mut Placed<K, F>,
        gradients: &'a WeightGradients<K, F>,
    ) -> &mut Self {
        let prefix = prefix.to_owned();
        match layer.model().engine {
            Engine::Cpu(_) => self.on_host.push(Box::new(on_host::OfLayer::new(prefix, layer, gradients))),
            Engine::Gpu(_) => self.on_device.push(Box::new(on_device::OfLayer::new(prefix, layer, gradients))),
        }
        self
    }

    /// Adds a tensor of the program's own, such as the weights of a head, with its gradient.
    pub fn tensor(&mut self, name: &str, tensor: &'a mut Tensor<F>, gradient: &'a Tensor<F>) -> &mut Self {
        self.on_host.push(Box::new(OfTensor::new(name.to_owned(), tensor, gradient)));
        self
    }

    /// Adds an array of the program's own in a buffer of a GPU, with its gradient: dense f32, as many as the range of
    /// the parameter holds. Both need the usage `STORAGE`, and to begin at a multiple of the device's
    /// `min_storage_buffer_offset_alignment`.
    ///
    /// The step fails with [`Error::Buffer`] if they do not, or if arrays of the step overlap, and with
    /// [`Error::Unsupported`] if `device` is the CPU, or for an optimiser of f64.
    pub fn buffer<'b>(
        &mut self,
        name: &str,
        device: &Device,
        parameter: impl Into<DeviceArray<'b>>,
        gradient: impl Into<DeviceArray<'b>>,
    ) -> &mut Self {
        match array::<F>(name, device, parameter.into(), gradient.into()) {
            Ok(array) => self.on_device.push(Box::new(array)),
            Err(error) => self.error = self.error.take().or(Some(error)),
        }
        self
    }

    /// Runs the step, and returns the norm of all gradients together, before it was limited.
    ///
    /// A GPU's share of the step stays there: what is read back is the norm, and what is kept for later steps is read
    /// back when it is [saved](Optimizer::save).
    ///
    /// # Errors
    /// Nothing has changed after any of these. [`Error::Config`] for a learning rate or limit below 0, or a name that
    /// occurs twice; [`Error::Shape`] for a gradient in another shape than its parameter, or a state of another;
    /// [`Error::NonFinite`] for a gradient that is NaN or infinite, or a weight of a layer on the CPU that would be. A
    /// GPU adds squares up in f32: a norm beyond 10¹⁹ is infinite there, and elements below 10⁻¹⁹ do not count.
    ///
    /// On a GPU in addition [`Error::OutOfMemory`], [`Error::DeviceLost`] (a loss during the update itself shows in the
    /// next call), and [`Error::Unsupported`] for a layer in [`Precision::F16`](crate::Precision::F16) or one whose
    /// parameters have taken different numbers of steps, one by one, on the host.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run(mut self) -> Result<f64> {
        pollster::block_on(self.apply(Wait::Blocking))
    }

    /// Runs the step like [`run`](Self::run), without blocking.
    ///
    /// # Errors
    /// The errors of [`run`](Self::run).
    pub async fn wait(mut self) -> Result<f64> {
        self.apply(Wait::Async).await
    }

    /// Records the step into `encoder`, for layers and [buffers](Self::buffer) of one GPU: no submission, no wait, no
    /// readback, clipping included. It takes effect when the encoder's commands run; record the steps of an optimiser
    /// in the order in which they will be submitted, as each counts as done from here on.
    ///
    /// Gradients of which one is NaN or infinite change nothing. `norm` receives the norm of all gradients together,
    /// before it was limited: one f32, in a buffer with usage `COPY_DST`, apart from the arrays of the step.
    ///
    /// # Errors
    /// Those of [`run`](Self::run), except for [`Error::NonFinite`]. [`Error::Unsupported`] for anything on the CPU,
    /// and for a layer that has clones or open streams, which keep their weights. Nothing has been recorded then. As
    /// with [`Placed::encode`], wgpu reports an encoder or a buffer for the norm of another device only when the
    /// encoder is finished.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn encode<'b>(
        mut self,
        encoder: &mut wgpu::CommandEncoder,
        norm: impl Into<Option<DeviceArray<'b>>>,
    ) -> Result<()> {
        pollster::block_on(self.record(encoder, norm.into(), Wait::Blocking))
    }

    /// Requests the [recording](Self::encode), which does not have to block. See [`Request`].
    ///
    /// # Errors
    /// When it runs, as [`encode`](Self::encode).
    pub fn request_encode(
        mut self,
        encoder: &'a mut wgpu::CommandEncoder,
        norm: impl Into<Option<DeviceArray<'a>>>,
    ) -> Request<'a, ()> {
        let norm = norm.into();
        Request::plain(async move |wait| self.record(encoder, norm, wait).await)
    }
}

/// Checks the buffers of an array.
fn array<F: Real>(
    name: &str,
    device: &Device,
    parameter: DeviceArray<'_>,
    gradient: DeviceArray<'_>,
) -> Result<OfArray> {
    let Backend::Gpu(context) = device.backend() else {
        return Err(needs_gpu("a step of a buffer"));
    };
    if size_of::<F>() != size_of::<f32>() {
        let what = format!("a step of a buffer by an optimiser of {}", F::NAME);
        return Err(Error::Unsupported { what, why: "buffers hold f32".to_owned() });
    }
    let bytes = parameter.bytes() / WORD * WORD;
    let need = |name, array| Need::bound(name, array, bytes.max(WORD), &context.limits);
    let (parameter, gradient) = (need("parameter", parameter), need("gradient", gradient));
    parameter.check()?;
    gradient.check()?;
    if parameter.overlaps(&gradient) {
        return Err(gradient.overlap(&parameter));
    }
    let (parameter, gradient) = (parameter.range(), gradient.range());
    Ok(OfArray { name: name.to_owned(), context: Arc::clone(context), parameter, gradient })
}
