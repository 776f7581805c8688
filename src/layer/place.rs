//! Placing a layer or a cell on a device.

use crate::blocking::Wait;
use crate::device::Device;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::layer::Layer;
use crate::layer::kind::Kind;
use crate::layer::placed::Placed;
use crate::model::PlacedModel;
use crate::precision::Precision;
use crate::real::Real;
use crate::request::Request;
use crate::weights;

/// The question of [`Layer::place`] and [`Cell::place`](crate::Cell::place).
pub struct Place<'a, M> {
    pub(crate) module: &'a M,
    pub(crate) device: &'a Device,
    pub(crate) precision: Precision,
}

impl<'a, M> Place<'a, M> {
    pub(crate) fn new(module: &'a M, device: &'a Device) -> Self {
        Self { module, device, precision: Precision::F32 }
    }
}

impl<T, M> Request<'_, T, Place<'_, M>> {
    /// Sets the format in which weights are stored: as f16, a step of few rows reads half as many bytes.
    ///
    /// The request fails with [`Error::NonFinite`] for a weight beyond the range of f16, which ends at 65,504.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.question.precision = precision;
        self
    }
}

impl<K: Kind, F: Real> Layer<K, F> {
    /// Places the layer on a device, which packs and uploads the weights once. [`place`](Self::place) can choose
    /// another precision, and does not have to block.
    ///
    /// # Errors
    /// [`Error::Limit`] if the device cannot hold a weight, [`Error::OutOfMemory`], [`Error::DeviceLost`];
    /// [`Error::Unsupported`] for f64 on a GPU.
    #[doc(alias = "forward")]
    #[cfg(not(target_arch = "wasm32"))]
    pub fn to(&self, device: &Device) -> Result<Placed<K, F>> {
        pollster::block_on(Place::new(self, device).layer(Wait::Blocking))
    }

    /// Requests the layer on a device, with weights in a given [precision](Request::precision). See [`Request`].
    ///
    /// ```
    /// use wgpu_rnn::{Device, Lstm, LstmConfig, Precision};
    ///
    /// let lstm = Lstm::random(LstmConfig::new(10, 20), 0)?;
    /// let lstm = lstm.place(&Device::cpu()).precision(Precision::F16).run()?;
    /// # Ok::<(), wgpu_rnn::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`to`](Self::to), when the request runs.
    #[doc(alias = "forward")]
    pub fn place<'a>(&'a self, device: &'a Device) -> Request<'a, Placed<K, F>, Place<'a, Self>> {
        Request::new(Place::new(self, device), |place, wait| Box::pin(place.layer(wait)))
    }
}

impl<K: Kind, F: Real> Place<'_, Layer<K, F>> {
    async fn layer(self, wait: Wait) -> Result<Placed<K, F>> {
        let Self { module: layer, device, precision } = self;
        let config = &layer.config().0;
        let weights = weights::in_precision(config, layer.layers(), precision, |parameter| parameter.to_string())?;
        let model = PlacedModel::new(config, &weights, device, precision, wait).await?;
        Ok(Placed::new(layer.clone(), device.clone(), model))
    }
}
