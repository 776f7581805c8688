//! The gradients that a backward returns.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use crate::blocking::Wait;
use crate::config::RecurrentConfig;
use crate::error::{Error, Result};
use crate::gpu::context::Context;
use crate::gpu::gradients::DeviceGradients;
use crate::layer::kind::Kind;
use crate::pass::OfWeights;
use crate::real::Real;
use crate::request::Request;
use crate::tensor::Tensor;
use crate::weights::LayerWeights;
#[cfg(not(target_arch = "wasm32"))]
use crate::weights::names;
use crate::weights::names::Parameter;

/// The gradients of a backward: the result of [`Pass::backward`](crate::Pass::backward).
#[derive(Clone)]
pub struct Gradients<K: Kind, F: Real = f32> {
    pub(super) input: Tensor<F>,
    pub(super) initial_state: K::State<F>,
    pub(super) weights: WeightGradients<K, F>,
}

/// The gradients with respect to the weights of a layer. Those of a pass on a GPU stay there, for an
/// [optimiser](crate::Optimizer) that changes the weights there, until they are asked for: [`layers`](Self::layers)
/// and [`named`](Self::named) wait for the pass and read them back.
pub struct WeightGradients<K: Kind, F: Real = f32> {
    pub(crate) config: RecurrentConfig,
    /// Those on the host, once they are there; index layer·D + direction.
    host: OnceLock<Vec<LayerWeights<F>>>,
    /// Those of a pass on a GPU.
    device: Option<DeviceGradients>,
    kind: PhantomData<K>,
}

impl<K: Kind, F: Real> Gradients<K, F> {
    /// Returns the gradient with respect to the input, in its shape.
    pub fn input(&self) -> &Tensor<F> {
        &self.input
    }

    /// Returns the gradient with respect to the initial state, whether one was given or not.
    pub fn initial_state(&self) -> &K::State<F> {
        &self.initial_state
    }

    /// Returns the gradients with respect to the weights.
    pub fn weights(&self) -> &WeightGradients<K, F> {
        &self.weights
    }

    /// Returns the gradients with respect to the weights alone, to [accumulate](WeightGradients::accumulate) others.
    pub fn into_weights(self) -> WeightGradients<K, F> {
        self.weights
    }
}

impl<K: Kind, F: Real> WeightGradients<K, F> {
    pub(super) fn new(config: &RecurrentConfig, gradients: OfWeights<F>) -> Self {
        let (host, device) = match gradients {
            OfWeights::Host(gradients) => (OnceLock::from(gradients), None),
            OfWeights::Device(gradients) => (OnceLock::new(), Some(gradients)),
        };
        Self { config: config.clone(), host, device, kind: PhantomData }
    }

    /// Returns the gradients in the shapes of their weights; the index is layer·D + direction. Those of a pass on a GPU
    /// are read back the first time, through a staging buffer of their size.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if memory runs out; on a GPU [`Error::OutOfMemory`] and [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn layers(&self) -> Result<&[LayerWeights<F>]> {
        pollster::block_on(self.read(Wait::Blocking))
    }

    /// Requests the [gradients on the host](Self::layers), which do not have to block. See [`Request`].
    pub fn request_layers(&self) -> Request<'_, &[LayerWeights<F>]> {
        Request::plain(async move |wait| self.read(wait).await)
    }

    /// Returns the gradients by PyTorch's names: `weight_ih_l0`, `weight_hh_l0` and so on.
    ///
    /// # Errors
    /// The errors of [`layers`](Self::layers).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn named(&self) -> Result<impl Iterator<Item = (String, &Tensor<F>)>> {
        Ok(names::named(self.layers()?, self.config.directions()))
    }

    /// Adds the gradients of another pass of the same layer, as `.grad` in PyTorch adds up those of several backwards.
    /// Those on a GPU are added there.
    ///
    /// # Errors
    /// [`Error::Shape`] for gradients of a layer of other sizes; on a GPU [`Error::OutOfMemory`] and
    /// [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn accumulate(&mut self, other: &Self) -> Result<()> {
        pollster::block_on(self.add(other, Wait::Blocking))
    }

    /// Requests the [sum](Self::accumulate), which does not have to block. See [`Request`].
    pub fn request_accumulate<'a>(&'a mut self, other: &'a Self) -> Request<'a, ()> {
        Request::plain(async move |wait| self.add(other, wait).await)
    }

    async fn add(&mut self, other: &Self, wait: Wait) -> Result<()> {
        other.check_shapes(&self.config)?;
        if let Some(device) = &mut self.device {
            let other = other.on_device(&device.context.clone(), &self.config, wait).await?;
            device.add(&other).await?;
            self.host = OnceLock::new();
            return Ok(());
        }
        let more = other.read(wait).await?;
        if let Some(sums) = self.host.get_mut() {
            sums.iter_mut().zip(more).for_each(|(sum, more)| sum.add(more));
        }
        Ok(())
    }

    /// Checks that a layer of this configuration has parameters of the names and shapes of these.
    pub(crate) fn check_shapes(&self, config: &RecurrentConfig) -> Result<()> {
        let (expected, got): (Vec<_>, Vec<_>) =
            (Parameter::of(config).collect(), Parameter::of(&self.config).collect());
        for ((parameter, shape), (other, got)) in expected.iter().zip(&got) {
            if parameter != other || shape != got {
                let (what, expected) = (format!("the gradient of {parameter}"), format!("{shape:?}, its shape"));
                return Err(Error::Shape { what, expected, got: got.clone() });
            }
        }
        if expected.len() != got.len() {
            let expected = format!("those of its {} parameters", expected.len());
            return Err(Error::Shape { what: format!("the gradients of {config}"), expected, got: vec![got.len()] });
        }
        Ok(())
    }

    /// Returns the gradients on the host.
    pub(crate) async fn read(&self, wait: Wait) -> Result<&[LayerWeights<F>]> {
        if let (None, Some(device)) = (self.host.get(), &self.device) {
            // Two threads may both read them; one result is kept.
            let read = device.read(wait).await?;
            return Ok(self.host.get_or_init(|| read));
        }
        Ok(self.host.get().map_or(&[], Vec::as_slice))
    }

    /// Returns the gradients in arrays of a device, laid out for a configuration with weights of the same shapes; a
    /// copy, unless they are there.
    pub(crate) async fn on_device(
        &self,
        context: &Arc<Context>,
        config: &RecurrentConfig,
        wait: Wait,
    ) -> Result<DeviceGradients> {
        match &self.device {
            Some(device) if device.is_on(context) && config.cell == self.config.cell => Ok(device.clone()),
            _ => DeviceGradients::upload(context, config, self.read(wait).await?, wait).await,
        }
    }
}

impl<K: Kind, F: Real> Clone for WeightGradients<K, F> {
    fn clone(&self) -> Self {
        let (config, host, device) = (self.config.clone(), self.host.clone(), self.device.clone());
        Self { config, host, device, kind: PhantomData }
    }
}

/// Writes the shapes; numbers are not printed.
impl<K: Kind, F: Real> fmt::Debug for Gradients<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gradients(input {:?}, {:?})", self.input.shape(), self.weights)
    }
}

/// Writes the layer and where the gradients are; numbers are not printed.
impl<K: Kind, F: Real> fmt::Debug for WeightGradients<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.device.is_some() { "on a GPU" } else { "on the host" };
        write!(f, "WeightGradients({}, {place})", self.config)
    }
}
