//! The engine behind every public layer type: a checked model placed on a device, and its forward.

use std::sync::Arc;

use crate::blocking::Wait;
use crate::call::{Call, Results};
use crate::cell_kind::StateName;
use crate::config::RecurrentConfig;
use crate::cpu::CpuModel;
use crate::device::{Backend, Device};
use crate::dropout::Training;
use crate::error::Result;
use crate::extents::Extents;
use crate::gpu::model::GpuModel;
use crate::memory::{copied, element_count, zeroed};
use crate::options::Options;
use crate::precision::Precision;
use crate::real::Real;
use crate::results::{self, Computed};
use crate::tensor::{Tensor, TensorView};
use crate::weights::LayerWeights;

/// A model whose weights are stored where it runs.
#[derive(Debug)]
pub(crate) struct PlacedModel<F> {
    pub(crate) config: RecurrentConfig,
    /// The format of the weights.
    pub(crate) precision: Precision,
    pub(crate) engine: Engine<F>,
}

#[derive(Debug)]
pub(crate) enum Engine<F> {
    Cpu(Arc<CpuModel<F>>),
    Gpu(Arc<GpuModel>),
}

/// The options of a forward other than input and initial states.
pub(crate) struct Asked<'a> {
    pub(crate) options: Options<'a>,
    /// `None` in evaluation mode.
    pub(crate) training: Option<&'a Training>,
    /// True if the output is wanted.
    pub(crate) output: bool,
    /// True if the states after every step are wanted.
    pub(crate) all_states: bool,
}

/// The results of a forward, with shapes.
pub(crate) struct Forward<F> {
    /// Empty if it was not requested.
    pub(crate) output: Tensor<F>,
    pub(crate) states: Vec<Tensor<F>>,
    pub(crate) all: Vec<Tensor<F>>,
}

impl<F: Real> PlacedModel<F> {
    /// Places a model. `layers` must be validated and rounded to the precision.
    pub(crate) async fn new(
        config: &RecurrentConfig,
        layers: &[LayerWeights<F>],
        device: &Device,
        precision: Precision,
        wait: Wait,
    ) -> Result<Self> {
        let engine = match device.backend() {
            Backend::Cpu { threads } => Engine::Cpu(CpuModel::new(config, layers, *threads)?.into()),
            Backend::Gpu(context) => {
                Engine::Gpu(GpuModel::place(context, config, layers, precision, wait).await?.into())
            }
        };
        Ok(Self { config: config.clone(), precision, engine })
    }

    /// Returns the model with other weights on the same device.
    pub(crate) async fn with_weights(&self, layers: &[LayerWeights<F>], device: &Device, wait: Wait) -> Result<Self> {
        let model = Self::new(&self.config, layers, device, self.precision, wait).await?;
        if let (Engine::Cpu(before), Engine::Cpu(after)) = (&self.engine, &model.engine) {
            after.succeed(before);
        }
        Ok(model)
    }

    /// Returns the model with a copy of its weights on the same device, with the same settings.
    pub(crate) async fn copied(&self) -> Result<Self> {
        let engine = match &self.engine {
            Engine::Cpu(model) => Engine::Cpu(Arc::clone(model)),
            Engine::Gpu(model) => Engine::Gpu(Arc::new(model.copied().await?)),
        };
        Ok(Self { config: self.config.clone(), precision: self.precision, engine })
    }

    /// Returns true if nothing else uses the weights.
    pub(crate) fn is_alone(&mut self) -> bool {
        match &mut self.engine {
            Engine::Cpu(model) => Arc::get_mut(model).is_some(),
            Engine::Gpu(model) => Arc::get_mut(model).is_some(),
        }
    }

    /// Checks shapes, runs the model, and returns results with their shapes. `states` are all initial states in the
    /// order of the cell's table, or `None` for zeros.
    pub(crate) async fn forward(
        &self,
        input: &TensorView<'_, F>,
        states: Option<&[&Tensor<F>]>,
        asked: Asked<'_>,
        wait: Wait,
    ) -> Result<Forward<F>> {
        let config = &self.config;
        let call = self.checked_call(input, states, &asked)?;
        let states: Option<Vec<&[F]>> = states.map(|states| states.iter().map(|s| s.data()).collect());
        let computed = self.compute(&call, input.data(), states.as_deref(), wait).await?;
        let extents = call.extents();
        let all = computed.all.into_iter().enumerate();
        Ok(Forward {
            output: match asked.output {
                true => Tensor::new(extents.shape(config.output_size()), computed.output)?,
                false => Tensor::zeros([0])?,
            },
            states: shaped_states(config, extents, computed.states)?,
            all: all.map(|(s, all)| Tensor::new(extents.all_states_shape(config, s), all)).collect::<Result<_>>()?,
        })
    }

    /// Checks a call, and draws its dropout masks.
    fn checked_call(
        &self,
        input: &TensorView<'_, F>,
        states: Option<&[&Tensor<F>]>,
        asked: &Asked<'_>,
    ) -> Result<Call> {
        let call = self.shaped_call(input, states, asked)?;
        let Some(training) = asked.training else { return Ok(call) };
        // A call that the device rejects draws no masks.
        if let (Engine::Gpu(model), false) = (&self.engine, call.extents().is_empty()) {
            model.plan_forward(call.task)?;
        }
        Ok(call.with_dropout(training.next_keys(self.config.dropped_layers())))
    }

    /// Checks the shapes of a call and of its results.
    pub(crate) fn shaped_call(
        &self,
        input: &TensorView<'_, F>,
        states: Option<&[&Tensor<F>]>,
        asked: &Asked<'_>,
    ) -> Result<Call> {
        let (config, Asked { options, output, all_states, .. }) = (&self.config, asked);
        let extents = Extents::of_input(config, input.shape())?;
        for (index, state) in states.into_iter().flatten().enumerate() {
            extents.check_state(config, index, state.shape())?;
        }
        element_count::<F>("output", &extents.shape(config.output_size()))?;
        for state in 0..config.cell.states().len() {
            element_count::<F>("state", &extents.state_shape(config, state))?;
            if *all_states {
                element_count::<F>("state", &extents.all_states_shape(config, state))?;
            }
        }
        let results = if *output { Results::OutputAndStates } else { Results::States };
        Ok(Call::new(extents, options)?.with_all_states(*all_states).with_results(results))
    }

    /// Runs on arrays that have the sizes that the call implies.
    pub(crate) async fn compute(
        &self,
        call: &Call,
        input: &[F],
        states: Option<&[&[F]]>,
        wait: Wait,
    ) -> Result<Computed<F>> {
        let (config, extents) = (&self.config, call.extents());
        match &self.engine {
            // T = 0 passes the state through (PyTorch rejects it); B = 0 has no rows.
            _ if extents.is_empty() => Ok(Computed {
                output: zeroed("output", &extents.shape(config.output_size()))?,
                states: initial_states(config, extents, states)?,
                all: vec![Vec::new(); if call.task.all_states { config.cell.states().len() } else { 0 }],
            }),
            Engine::Cpu(model) => {
                wait.let_others_run().await;
                let mut states = initial_states(config, extents, states)?;
                let (output, all) = model.forward(call, input, &mut states)?;
                Ok(Computed { output, states, all })
            }
            Engine::Gpu(model) => results::arrange(config, call, model.forward(call, input, states, wait).await?),
        }
    }
}

/// Returns arrays `[L·D, B, ·]` as tensors, without B if unbatched.
pub(crate) fn shaped_states<F: Real>(
    config: &RecurrentConfig,
    extents: &Extents,
    states: Vec<Vec<F>>,
) -> Result<Vec<Tensor<F>>> {
    let states = states.into_iter().enumerate();
    states.map(|(s, state)| Tensor::new(extents.state_shape(config, s), state)).collect()
}

/// Returns the given states, or zeros.
pub(crate) fn initial_states<F: Real>(
    config: &RecurrentConfig,
    extents: &Extents,
    states: Option<&[&[F]]>,
) -> Result<Vec<Vec<F>>> {
    let names = config.cell.states().iter().enumerate();
    let state = |(s, name): (usize, &StateName)| match states {
        Some(states) => copied(name.last, states[s]),
        None => zeroed(name.last, &extents.state_shape(config, s)),
    };
    names.map(state).collect()
}
