//! A forward that is followed by its backward: the engine behind [`Pass`](crate::Pass).

use crate::blocking::Wait;
use crate::call::{Call, Task};
use crate::cpu;
use crate::error::{Error, Result};
use crate::gpu;
use crate::gpu::gradients::DeviceGradients;
use crate::gradients::{Derived, Given, zero_weights};
use crate::memory::zeroed;
use crate::model::{Asked, Engine, PlacedModel, initial_states, shaped_states};
use crate::precision::Precision;
use crate::real::Real;
use crate::tensor::{Tensor, TensorView};
use crate::weights::LayerWeights;

/// What a forward leaves for its backward.
#[derive(Debug)]
pub(crate) enum Tape<F> {
    /// There was nothing to compute.
    Empty(Call),
    Cpu(cpu::Tape<F>),
    Gpu(Box<gpu::train::Tape>),
}

/// The results of a forward, with shapes, and its tape.
#[derive(Debug)]
pub(crate) struct Taped<F> {
    pub(crate) output: Tensor<F>,
    pub(crate) states: Vec<Tensor<F>>,
    tape: Tape<F>,
}

/// The results of a backward, with shapes.
pub(crate) struct Gradients<F> {
    pub(crate) input: Tensor<F>,
    pub(crate) states: Vec<Tensor<F>>,
    pub(crate) weights: OfWeights<F>,
}

/// The gradients with respect to the weights, where they were computed.
pub(crate) enum OfWeights<F> {
    /// Index: layer·D + direction.
    Host(Vec<LayerWeights<F>>),
    Device(DeviceGradients),
}

impl<F, W: Into<OfWeights<F>>> Derived<F, W> {
    /// Returns the same in the type of all devices.
    fn anywhere(self) -> Derived<F, OfWeights<F>> {
        Derived { input: self.input, states: self.states, weights: self.weights.into() }
    }
}

impl<F> From<Vec<LayerWeights<F>>> for OfWeights<F> {
    fn from(weights: Vec<LayerWeights<F>>) -> Self {
        Self::Host(weights)
    }
}

impl<F> From<DeviceGradients> for OfWeights<F> {
    fn from(weights: DeviceGradients) -> Self {
        Self::Device(weights)
    }
}

impl<F> Tape<F> {
    fn call(&self) -> &Call {
        match self {
            Self::Empty(call) => call,
            Self::Cpu(tape) => tape.call(),
            Self::Gpu(tape) => &tape.call,
        }
    }
}

impl<F: Real> PlacedModel<F> {
    /// Checks that the model can be trained at all.
    pub(crate) fn check_trainable(&self) -> Result<()> {
        if !self.config.form.is_plain() {
            return Err(Error::Unsupported {
                what: format!("training {}", self.config),
                why: "the backward is that of PyTorch's forms".to_owned(),
            });
        }
        match self.precision {
            Precision::F32 => Ok(()),
            Precision::F16 => Err(Error::Unsupported {
                what: "training a layer placed in f16".to_owned(),
                why: "its weights are rounded, so that small steps would be lost; place it in f32".to_owned(),
            }),
        }
    }

    /// Checks shapes and runs a forward that leaves a tape.
    pub(crate) async fn forward_train(
        &self,
        input: &TensorView<'_, F>,
        states: Option<&[&Tensor<F>]>,
        asked: Asked<'_>,
        wait: Wait,
    ) -> Result<Taped<F>> {
        let config = &self.config;
        self.check_trainable()?;
        let call = self.shaped_call(input, states, &asked)?;
        // A call that the device rejects draws no masks.
        let dropout = asked.training.is_some() && config.dropped_layers() > 0;
        let on_gpu = match &self.engine {
            Engine::Gpu(model) if !call.extents().is_empty() => {
                Some((model, model.training(Task { dropout, ..call.task }, wait).await?))
            }
            _ => None,
        };
        let keys = asked.training.map(|training| training.next_keys(config.dropped_layers()));
        let call = call.with_dropout(keys.unwrap_or_default());
        let states: Option<Vec<&[F]>> = states.map(|states| states.iter().map(|s| s.data()).collect());
        let states = states.as_deref();
        let output_shape = call.extents().shape(config.output_size());
        let (output, states, tape) = match (&self.engine, on_gpu) {
            (_, Some((model, arrays))) => {
                let (output, states, tape) = model.forward_train(arrays, call, input.data(), states, wait).await?;
                (output, states, Tape::Gpu(Box::new(tape)))
            }
            (Engine::Cpu(model), None) if !call.extents().is_empty() => {
                wait.let_others_run().await;
                let mut states = initial_states(config, call.extents(), states)?;
                let (output, tape) = model.forward_train(&call, input.data(), &mut states)?;
                (output, states, Tape::Cpu(tape))
            }
            _ => {
                let states = initial_states(config, call.extents(), states)?;
                (zeroed("output", &output_shape)?, states, Tape::Empty(call))
            }
        };
        Ok(Taped {
            output: Tensor::new(output_shape, output)?,
            states: shaped_states(config, tape.call().extents(), states)?,
            tape,
        })
    }

    /// Checks shapes and runs the backward of a forward of this model. `weights` are those of the model.
    pub(crate) async fn backward(
        &self,
        weights: &[LayerWeights<F>],
        taped: Taped<F>,
        output: Option<&Tensor<F>>,
        states: Option<&[&Tensor<F>]>,
        wait: Wait,
    ) -> Result<Gradients<F>> {
        let (config, call) = (&self.config, taped.tape.call());
        if let Some(output) = output.filter(|output| output.shape() != taped.output.shape()) {
            let expected = format!("{:?}, the shape of the output", taped.output.shape());
            let what = "the gradient of the output".to_owned();
            return Err(Error::Shape { what, expected, got: output.shape().to_vec() });
        }
        for (index, state) in states.into_iter().flatten().enumerate() {
            if state.shape() != taped.states[index].shape() {
                let name = config.cell.states()[index].last;
                let expected = format!("{:?}, the shape of {name}", taped.states[index].shape());
                let what = format!("the gradient of {name}");
                return Err(Error::Shape { what, expected, got: state.shape().to_vec() });
            }
        }
        let states: Option<Vec<&[F]>> = states.map(|states| states.iter().map(|s| s.data()).collect());
        let given = Given { output: output.map(Tensor::data), states: states.as_deref() };
        let extents = *call.extents();
        let derived = match (taped.tape, &self.engine) {
            (Tape::Cpu(tape), Engine::Cpu(model)) => {
                wait.let_others_run().await;
                model.backward(weights, tape, taped.output.data(), &given)?.anywhere()
            }
            (Tape::Gpu(tape), Engine::Gpu(model)) => model.backward(*tape, &given, wait).await?.anywhere(),
            // The state passed through, and nothing else was read.
            (tape, _) => Derived {
                input: zeroed("the gradient of the input", &extents.shape(config.input_size))?,
                states: given.states_or_zeros(config, tape.call())?,
                weights: OfWeights::Host(zero_weights(config)?),
            },
        };
        Ok(Gradients {
            input: Tensor::new(extents.shape(config.input_size), derived.input)?,
            states: shaped_states(config, &extents, derived.states)?,
            weights: derived.weights,
        })
    }
}
