//! What a step changes on the host: layers on the CPU, and tensors of the program's own.

use crate::blocking::Wait;
use crate::layer::gradients::WeightGradients;
use crate::layer::kind::Kind;
use crate::layer::placed::Placed;
use crate::real::Real;
use crate::request::{MaybeSend, Running};
use crate::tensor::Tensor;
use crate::weights::{LayerWeights, names};

/// Something on the host with parameters that a step changes.
pub(super) trait HostTarget<F: Real>: MaybeSend {
    /// Checks that the gradients are of these parameters, and brings them to the host.
    fn fetch(&mut self, wait: Wait) -> Running<'_, ()>;

    /// Returns name, value and gradient of each parameter.
    fn parameters(&self) -> Vec<(String, &Tensor<F>, &Tensor<F>)>;

    /// Prepares the parameters' new values; nothing changes until [`commit`](Self::commit).
    fn prepare(&mut self, values: Vec<Tensor<F>>, wait: Wait) -> Running<'_, ()>;

    /// Replaces the parameters by what was prepared, which cannot fail.
    fn commit(&mut self);
}

/// A layer on the CPU.
pub(super) struct OfLayer<'a, K: Kind, F: Real> {
    prefix: String,
    layer: &'a mut Placed<K, F>,
    gradients: &'a WeightGradients<K, F>,
    /// The gradients, once they are on the host.
    fetched: &'a [LayerWeights<F>],
    prepared: Option<Placed<K, F>>,
}

/// A tensor of the program's own.
pub(super) struct OfTensor<'a, F> {
    name: String,
    tensor: &'a mut Tensor<F>,
    gradient: &'a Tensor<F>,
    prepared: Option<Tensor<F>>,
}

impl<'a, K: Kind, F: Real> OfLayer<'a, K, F> {
    pub(super) fn new(prefix: String, layer: &'a mut Placed<K, F>, gradients: &'a WeightGradients<K, F>) -> Self {
        Self { prefix, layer, gradients, fetched: &[], prepared: None }
    }
}

impl<'a, F: Real> OfTensor<'a, F> {
    pub(super) fn new(name: String, tensor: &'a mut Tensor<F>, gradient: &'a Tensor<F>) -> Self {
        Self { name, tensor, gradient, prepared: None }
    }
}

impl<K: Kind, F: Real> HostTarget<F> for OfLayer<'_, K, F> {
    fn fetch(&mut self, wait: Wait) -> Running<'_, ()> {
        Box::pin(async move {
            self.gradients.check_shapes(&self.layer.config().0)?;
            self.fetched = self.gradients.read(wait).await?;
            Ok(())
        })
    }

    fn parameters(&self) -> Vec<(String, &Tensor<F>, &Tensor<F>)> {
        let directions = self.layer.config().directions();
        let parameters = self.layer.on_host().into_iter().flat_map(|layer| layer.named());
        let parameters = parameters.zip(names::named(self.fetched, directions));
        parameters.map(|((name, value), (_, gradient))| (format!("{}{name}", self.prefix), value, gradient)).collect()
    }

    fn prepare(&mut self, values: Vec<Tensor<F>>, wait: Wait) -> Running<'_, ()> {
        Box::pin(async move {
            if let Some(layer) = self.layer.on_host() {
                self.prepared = Some(self.layer.with_layer(layer.with_parameters(values)?, wait).await?);
            }
            Ok(())
        })
    }

    fn commit(&mut self) {
        if let Some(prepared) = self.prepared.take() {
            *self.layer = prepared;
        }
    }
}

impl<F: Real> HostTarget<F> for OfTensor<'_, F> {
    fn fetch(&mut self, _: Wait) -> Running<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn parameters(&self) -> Vec<(String, &Tensor<F>, &Tensor<F>)> {
        vec![(self.name.clone(), self.tensor, self.gradient)]
    }

    fn prepare(&mut self, values: Vec<Tensor<F>>, _: Wait) -> Running<'_, ()> {
        self.prepared = values.into_iter().next();
        Box::pin(std::future::ready(Ok(())))
    }

    fn commit(&mut self) {
        if let Some(prepared) = self.prepared.take() {
            *self.tensor = prepared;
        }
    }
}
