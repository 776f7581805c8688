//! What a step changes on a GPU: layers, and arrays in the caller's own buffers.

use std::sync::Arc;

use crate::blocking::Wait;
use crate::device::needs_gpu;
use crate::error::{Error, Result};
use crate::gpu::arrays::BufferRange;
use crate::gpu::context::Context;
use crate::gpu::gradients::DeviceGradients;
use crate::gpu::model::GpuModel;
use crate::gpu::optim::Slot;
use crate::layer::gradients::WeightGradients;
use crate::layer::kind::Kind;
use crate::layer::placed::Placed;
use crate::model::Engine;
use crate::optim::resident::{Kept, Owner};
use crate::plan::optim::WORD;
use crate::plan::optim::params::SlotParams;
use crate::real::Real;
use crate::request::{MaybeSend, Running};
use crate::weights::{check_finite, names};

/// Something on a GPU with parameters that a step changes.
pub(super) trait DeviceTarget: MaybeSend {
    /// Returns the device.
    fn context(&self) -> Result<&Arc<Context>>;

    /// Returns what the parameters belong to.
    fn owner(&self) -> Owner;

    /// Checks the gradients and brings them to the device; `in_place` asks for a step of the very parameters, of which
    /// there is otherwise a copy if something else uses them.
    fn prepare(&mut self, in_place: bool, wait: Wait) -> Running<'_, ()>;

    /// Returns the arrays of parameters, with their gradients and what the rule keeps of them.
    fn slots(&self, kept: &[Kept], rule: SlotParams) -> Result<Vec<Slot>>;

    /// Makes what the device has changed, or will change, the parameters of the target, which cannot fail.
    fn commit(&mut self);

    /// Returns an error that names a gradient that is NaN or infinite, if there is one.
    fn check_finite(&self, wait: Wait) -> Running<'_, ()>;
}

/// A layer on a GPU.
pub(super) struct OfLayer<'a, K: Kind, F: Real> {
    prefix: String,
    layer: &'a mut Placed<K, F>,
    gradients: &'a WeightGradients<K, F>,
    /// The gradients, once they are on the device.
    fetched: Option<DeviceGradients>,
    /// The layer with weights of its own, if clones or streams keep the present ones.
    copied: Option<Placed<K, F>>,
}

/// An array in a buffer of the caller's.
pub(super) struct OfArray {
    pub(super) name: String,
    pub(super) context: Arc<Context>,
    pub(super) parameter: BufferRange,
    pub(super) gradient: BufferRange,
}

impl<'a, K: Kind, F: Real> OfLayer<'a, K, F> {
    pub(super) fn new(prefix: String, layer: &'a mut Placed<K, F>, gradients: &'a WeightGradients<K, F>) -> Self {
        Self { prefix, layer, gradients, fetched: None, copied: None }
    }
}

/// Returns the model of a layer on a GPU.
fn model<K: Kind, F: Real>(layer: &Placed<K, F>) -> Result<&GpuModel> {
    match &layer.model().engine {
        Engine::Gpu(model) => Ok(model),
        Engine::Cpu(_) => Err(needs_gpu("a step on the device")),
    }
}

impl<K: Kind, F: Real> DeviceTarget for OfLayer<'_, K, F> {
    fn context(&self) -> Result<&Arc<Context>> {
        Ok(&model(self.layer)?.context)
    }

    fn owner(&self) -> Owner {
        Owner::Layer { prefix: self.prefix.clone(), config: self.layer.config().0.clone() }
    }

    fn prepare(&mut self, in_place: bool, wait: Wait) -> Running<'_, ()> {
        Box::pin(async move {
            let config = &self.layer.config().0;
            self.gradients.check_shapes(config)?;
            self.layer.model().check_trainable()?;
            let context = &model(self.layer)?.context;
            self.fetched = Some(self.gradients.on_device(context, config, wait).await?);
            if self.layer.is_alone() {
                return Ok(());
            }
            if in_place {
                return Err(Error::Unsupported {
                    what: format!("a recorded step of {}, which has clones or open streams", self.layer),
                    why: "they keep their weights, and a recorded step changes them in place".to_owned(),
                });
            }
            self.copied = Some(self.layer.copied().await?);
            Ok(())
        })
    }

    fn slots(&self, kept: &[Kept], rule: SlotParams) -> Result<Vec<Slot>> {
        let of_layer = |kept: &Kept| match kept {
            Kept::Layer(kept) => Some(kept.clone()),
            Kept::Array(_) => None,
        };
        let kept: Vec<_> = kept.iter().filter_map(of_layer).collect();
        let model = model(self.copied.as_ref().unwrap_or(self.layer))?;
        self.fetched.as_ref().map_or(Ok(Vec::new()), |gradients| model.slots(gradients, &kept, rule))
    }

    fn commit(&mut self) {
        if let Some(copied) = self.copied.take() {
            *self.layer = copied;
        }
        self.layer.forget_layer();
    }

    fn check_finite(&self, wait: Wait) -> Running<'_, ()> {
        // A future of its own would borrow this target, which need not be shared between threads.
        let (prefix, gradients) = (self.prefix.clone(), self.gradients);
        Box::pin(async move {
            let layers = gradients.read(wait).await?;
            names::named(layers, gradients.config.directions())
                .try_for_each(|(name, gradient)| check_finite(&format!("the gradient of {prefix}{name}"), gradient))
        })
    }
}

impl DeviceTarget for OfArray {
    fn context(&self) -> Result<&Arc<Context>> {
        Ok(&self.context)
    }

    fn owner(&self) -> Owner {
        Owner::Array { name: self.name.clone(), elements: self.parameter.bytes / WORD }
    }

    fn prepare(&mut self, _: bool, _: Wait) -> Running<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn slots(&self, kept: &[Kept], rule: SlotParams) -> Result<Vec<Slot>> {
        let of_array = |kept: &Kept| match kept {
            Kept::Array(kept) => Some(kept.clone()),
            Kept::Layer(_) => None,
        };
        let moments = kept.iter().filter_map(of_array).collect();
        let (parameter, gradient) = (self.parameter.clone(), self.gradient.clone());
        Ok(vec![Slot { elements: parameter.bytes / WORD, first: 0, parameter, gradient, moments, rule }])
    }

    fn commit(&mut self) {}

    fn check_finite(&self, _: Wait) -> Running<'_, ()> {
        // The caller's buffer need not allow a copy.
        Box::pin(std::future::ready(Ok(())))
    }
}
