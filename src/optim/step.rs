//! One step of an optimiser, over everything that it changes together.

use std::collections::BTreeSet;

use crate::blocking::Wait;
use crate::error::{Error, Result};
use crate::layer::kind::Kind;
use crate::layer::placed::Placed;
use crate::layer::train::Gradients;
use crate::memory::reserved;
use crate::optim::Optimizer;
use crate::optim::moments::Moments;
use crate::optim::rule::check;
use crate::real::Real;
use crate::request::{MaybeSend, Running};
use crate::tensor::Tensor;

/// A step of an [`Optimizer`] that is being described: the layers and tensors that it changes, and how their gradients
/// are clipped. It changes nothing until it is run, and then all of them or, after an error, none.
#[must_use = "a step changes nothing until it is run"]
pub struct Step<'a, F: Real = f32> {
    optimizer: &'a mut Optimizer<F>,
    lr: Result<f64>,
    clip_value: Option<f64>,
    clip_norm: Option<f64>,
    targets: Vec<Box<dyn Target<F> + 'a>>,
}

/// Something with parameters that a step changes.
trait Target<F: Real>: MaybeSend {
    /// Checks that the gradients are of these parameters.
    fn check(&self) -> Result<()>;

    /// Returns name, value and gradient of each parameter.
    fn parameters(&self) -> Vec<(String, &Tensor<F>, &Tensor<F>)>;

    /// Prepares the parameters' new values; nothing changes until [`commit`](Self::commit).
    fn prepare(&mut self, values: Vec<Tensor<F>>, wait: Wait) -> Running<'_, ()>;

    /// Replaces the parameters by what was prepared, which cannot fail.
    fn commit(&mut self);
}

struct OfLayer<'a, K: Kind, F: Real> {
    prefix: String,
    layer: &'a mut Placed<K, F>,
    gradients: &'a Gradients<K, F>,
    prepared: Option<Placed<K, F>>,
}

struct OfTensor<'a, F> {
    name: String,
    tensor: &'a mut Tensor<F>,
    gradient: &'a Tensor<F>,
    prepared: Option<Tensor<F>>,
}

impl<'a, F: Real> Step<'a, F> {
    pub(super) fn new(optimizer: &'a mut Optimizer<F>, lr: Result<f64>) -> Self {
        Self { optimizer, lr, clip_value: None, clip_norm: None, targets: Vec::new() }
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
    /// Clones of the layer and open streams keep the weights that they have: the step gives this layer new ones. Its
    /// mode and masks stay as they are.
    pub fn layer<K: Kind>(
        &mut self,
        prefix: &str,
        layer: &'a mut Placed<K, F>,
        gradients: &'a Gradients<K, F>,
    ) -> &mut Self {
        let prefix = prefix.to_owned();
        self.targets.push(Box::new(OfLayer { prefix, layer, gradients, prepared: None }));
        self
    }

    /// Adds a tensor of the program's own, such as the weights of a head, with its gradient.
    pub fn tensor(&mut self, name: &str, tensor: &'a mut Tensor<F>, gradient: &'a Tensor<F>) -> &mut Self {
        self.targets.push(Box::new(OfTensor { name: name.to_owned(), tensor, gradient, prepared: None }));
        self
    }

    /// Runs the step, and returns the norm of all gradients together, before it was limited.
    ///
    /// On a GPU, the weights are computed on the host and uploaded.
    ///
    /// # Errors
    /// Nothing has changed after any of these. [`Error::Config`] for a learning rate or limit below 0, or a name that
    /// occurs twice; [`Error::Shape`] for a gradient in another shape than its parameter, or a state of another;
    /// [`Error::NonFinite`] for a weight of a layer that would be NaN or infinite, as after a NaN in its gradient.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run(self) -> Result<f64> {
        pollster::block_on(self.apply(Wait::Blocking))
    }

    /// Runs the step like [`run`](Self::run), without blocking.
    ///
    /// # Errors
    /// The errors of [`run`](Self::run).
    pub async fn wait(self) -> Result<f64> {
        self.apply(Wait::Async).await
    }

    async fn apply(mut self, wait: Wait) -> Result<f64> {
        let lr = self.lr?;
        for (argument, limit) in [("clip_value", self.clip_value), ("clip_norm", self.clip_norm)] {
            if let Some(limit) = limit {
                check(argument, "a number of at least 0", limit, limit >= 0.0)?;
            }
        }
        check_parameters(self.optimizer, &self.targets)?;
        let clipped = |g: F| match self.clip_value.map(F::from_f64) {
            Some(most) if g > most => most,
            Some(most) if g < F::zero() - most => F::zero() - most,
            // NaN is neither, and stays.
            _ => g,
        };
        let gradients = self.targets.iter().flat_map(|target| target.parameters()).map(|(_, _, gradient)| gradient);
        let square = |g: &F| clipped(*g).to_f64() * clipped(*g).to_f64();
        let norm = gradients.map(|gradient| gradient.data().iter().map(square).sum::<f64>()).sum::<f64>().sqrt();
        // As in PyTorch, a NaN norm makes everything NaN, and the layers reject that.
        let scale = self.clip_norm.map_or(1.0, |most| if norm <= most { 1.0 } else { (most / (norm + 1e-6)).min(1.0) });
        let scale = F::from_f64(scale);

        let mut moments: Vec<(String, Moments<F>)> = Vec::new();
        for target in &mut self.targets {
            let parameters = target.parameters();
            let mut values = reserved("the parameters of a step", &[parameters.len()])?;
            for (name, parameter, gradient) in parameters {
                let before = self.optimizer.moments.get(&name);
                let of_element = |at: usize| clipped(gradient.data()[at]) * scale;
                let (value, after) = self.optimizer.rule.apply(lr, parameter.data(), of_element, before)?;
                values.push(Tensor::new(parameter.shape(), value)?);
                moments.push((name, after));
            }
            target.prepare(values, wait).await?;
        }
        // From here on nothing can fail.
        self.targets.iter_mut().for_each(|target| target.commit());
        self.optimizer.moments.extend(moments);
        Ok(norm)
    }
}

/// Checks that names are unique, and that gradients and states have the shapes of their parameters.
fn check_parameters<F: Real>(optimizer: &Optimizer<F>, targets: &[Box<dyn Target<F> + '_>]) -> Result<()> {
    targets.iter().try_for_each(|target| target.check())?;
    let mut names = BTreeSet::new();
    for (name, parameter, gradient) in targets.iter().flat_map(|target| target.parameters()) {
        if gradient.shape() != parameter.shape() {
            let (what, expected) = (format!("the gradient of {name}"), format!("{:?}, its shape", parameter.shape()));
            return Err(Error::Shape { what, expected, got: gradient.shape().to_vec() });
        }
        if let Some(moments) = optimizer.moments.get(&name) {
            let (expected, got) = (parameter.data().len(), moments.arrays.first().map_or(0, Vec::len));
            if got != expected {
                let what = format!("the optimiser's state of {name}");
                return Err(Error::Shape { what, expected: format!("{expected} values"), got: vec![got] });
            }
        }
        if !names.insert(name.clone()) {
            return Err(Error::Config { argument: "name", expected: "a name for each parameter", got: name });
        }
    }
    Ok(())
}

impl<K: Kind, F: Real> Target<F> for OfLayer<'_, K, F> {
    fn check(&self) -> Result<()> {
        let (of_layer, got) = (self.layer.layer().named().map(|(name, _)| name), self.gradients.named());
        if of_layer.eq(got.map(|(name, _)| name)) {
            return Ok(());
        }
        let what = format!("the gradients of {}", self.layer.layer());
        let expected = format!("those of its {} layers and directions", self.layer.layer().layers().len());
        Err(Error::Shape { what, expected, got: vec![self.gradients.layers().len()] })
    }

    fn parameters(&self) -> Vec<(String, &Tensor<F>, &Tensor<F>)> {
        let parameters = self.layer.layer().named().zip(self.gradients.named());
        parameters.map(|((name, value), (_, gradient))| (format!("{}{name}", self.prefix), value, gradient)).collect()
    }

    fn prepare(&mut self, values: Vec<Tensor<F>>, wait: Wait) -> Running<'_, ()> {
        Box::pin(async move {
            let layer = self.layer.layer().with_parameters(values)?;
            self.prepared = Some(self.layer.with_layer(layer, wait).await?);
            Ok(())
        })
    }

    fn commit(&mut self) {
        if let Some(prepared) = self.prepared.take() {
            *self.layer = prepared;
        }
    }
}

impl<F: Real> Target<F> for OfTensor<'_, F> {
    fn check(&self) -> Result<()> {
        Ok(())
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
