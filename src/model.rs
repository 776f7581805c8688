//! The engine behind every public layer type: a checked model placed on a device, and its forward.

use std::sync::Arc;

use crate::cell_kind::StateName;
use crate::config::RecurrentConfig;
use crate::cpu::CpuModel;
use crate::device::{Device, Kind};
use crate::gpu::Wait;
use crate::gpu::model::GpuModel;
use crate::options::Options;
use crate::rows::Rows;
use crate::sequence::Sequence;
use crate::tensor::{element_count, zeroed};
use crate::weights::LayerWeights;
use crate::{Real, Result, Tensor};

/// A model whose weights lie where it runs.
#[derive(Debug)]
pub(crate) struct PlacedModel<F> {
    pub(crate) config: RecurrentConfig,
    pub(crate) place: Place<F>,
}

#[derive(Debug)]
pub(crate) enum Place<F> {
    Cpu(Arc<CpuModel<F>>),
    Gpu(Arc<GpuModel>),
}

/// What a forward gives, as flat arrays.
pub(crate) struct Computed<F> {
    pub(crate) output: Vec<F>,
    /// The last states, h first.
    pub(crate) states: Vec<Vec<F>>,
}

/// The same with shapes: output, and the last states, h first.
pub(crate) type Forward<F> = (Tensor<F>, Vec<Tensor<F>>);

impl<F: Real> PlacedModel<F> {
    /// `layers` are validated.
    pub(crate) async fn new(
        config: &RecurrentConfig,
        layers: &[LayerWeights<F>],
        device: &Device,
        wait: Wait,
    ) -> Result<Self> {
        let place = match device.kind() {
            Kind::Cpu => Place::Cpu(CpuModel::new(config, layers)?.into()),
            Kind::Gpu(context) => Place::Gpu(GpuModel::place(context, config, layers, wait).await?.into()),
        };
        Ok(Self { config: config.clone(), place })
    }

    /// Checks shapes, runs, and gives the results their shapes. `states` are the initial ones in the order of the cell's
    /// table, all of them or `None` for zeros.
    pub(crate) async fn forward(
        &self,
        input: &Tensor<F>,
        states: Option<&[&Tensor<F>]>,
        options: &Options<'_>,
        wait: Wait,
    ) -> Result<Forward<F>> {
        let config = &self.config;
        let sequence = Sequence::of_input(config, input.shape())?;
        for (index, state) in states.into_iter().flatten().enumerate() {
            sequence.check_state(config, index, state.shape())?;
        }
        let rows = Rows::new(&sequence, options.lengths, options.padding_value)?;
        let output_shape = sequence.shape(config.output_size());
        let state_shapes: Vec<_> = (0..config.cell.states().len()).map(|s| sequence.state_shape(config, s)).collect();
        element_count::<F>("output", &output_shape)?;
        for shape in &state_shapes {
            element_count::<F>("state", shape)?;
        }

        let states: Option<Vec<&[F]>> = states.map(|states| states.iter().map(|s| s.data()).collect());
        let computed = self.compute(sequence, &rows, input.data(), states.as_deref(), wait).await?;
        let output = Tensor::new(output_shape, computed.output)?;
        let states = state_shapes.into_iter().zip(computed.states).map(|(shape, state)| Tensor::new(shape, state));
        Ok((output, states.collect::<Result<_>>()?))
    }

    /// Runs arrays that have the sizes that `sequence` stands for.
    pub(crate) async fn compute(
        &self,
        sequence: Sequence,
        rows: &Rows,
        input: &[F],
        states: Option<&[&[F]]>,
        wait: Wait,
    ) -> Result<Computed<F>> {
        let config = &self.config;
        match &self.place {
            // T = 0 passes the state through (PyTorch rejects it), B = 0 has no rows.
            _ if sequence.is_empty() => Ok(Computed {
                output: zeroed("output", &sequence.shape(config.output_size()))?,
                states: initial_states(config, &sequence, states)?,
            }),
            Place::Cpu(model) => {
                let mut states = initial_states(config, &sequence, states)?;
                let output = model.forward(&sequence, rows, input, &mut states)?;
                Ok(Computed { output, states })
            }
            Place::Gpu(model) => model.forward(sequence, rows, input, states, wait).await,
        }
    }
}

/// The given states, or zeros.
fn initial_states<F: Real>(
    config: &RecurrentConfig,
    sequence: &Sequence,
    states: Option<&[&[F]]>,
) -> Result<Vec<Vec<F>>> {
    let names = config.cell.states().iter().enumerate();
    let state = |(s, name): (usize, &StateName)| match states {
        Some(states) => Ok(states[s].to_vec()),
        None => zeroed(name.last, &sequence.state_shape(config, s)),
    };
    names.map(state).collect()
}
