//! The gradients that go into a backward, and those that come out of it, as flat arrays.

use crate::call::Call;
use crate::config::RecurrentConfig;
use crate::error::Result;
use crate::memory::{copied, zeroed};
use crate::real::Real;
use crate::tensor::Tensor;
use crate::weights::LayerWeights;
use crate::weights::names::ParameterKind;

/// The gradients with respect to the results of a forward; those that are not given are zero.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a, F> {
    pub(crate) output: Option<&'a [F]>,
    /// Those of the last states, h first.
    pub(crate) states: Option<&'a [&'a [F]]>,
}

impl<F: Real> Given<'_, F> {
    /// Returns the gradient with respect to the output, in memory of its own.
    pub(crate) fn output_or_zeros(&self, config: &RecurrentConfig, call: &Call) -> Result<Vec<F>> {
        let what = "the gradient of the output";
        match self.output {
            Some(output) => copied(what, output),
            None => zeroed(what, &call.extents().shape(config.output_size())),
        }
    }

    /// Returns the gradients with respect to the last states, in memory of their own.
    pub(crate) fn states_or_zeros(&self, config: &RecurrentConfig, call: &Call) -> Result<Vec<Vec<F>>> {
        let what = "the gradient of a state";
        let state = |s: usize| match self.states {
            Some(states) => copied(what, states[s]),
            None => zeroed(what, &call.extents().state_shape(config, s)),
        };
        (0..config.cell.states().len()).map(state).collect()
    }
}

/// The gradients with respect to everything that a forward reads.
pub(crate) struct Derived<F, W = Vec<LayerWeights<F>>> {
    /// In the layout of the input.
    pub(crate) input: Vec<F>,
    /// Those of the initial states, h first: each `[L·D, B, ·]`.
    pub(crate) states: Vec<Vec<F>>,
    /// Index: layer·D + direction.
    pub(crate) weights: W,
}

/// Returns weights of a model that are all zero.
pub(crate) fn zero_weights<F: Real>(config: &RecurrentConfig) -> Result<Vec<LayerWeights<F>>> {
    let of_layer = |(layer, _)| {
        let zeros = |kind: ParameterKind| Tensor::zeros(kind.shape(config, layer));
        let weights = LayerWeights::new(zeros(ParameterKind::WeightIh)?, zeros(ParameterKind::WeightHh)?);
        let weights = match config.bias {
            true => weights.with_bias(zeros(ParameterKind::BiasIh)?, zeros(ParameterKind::BiasHh)?),
            false => weights,
        };
        Ok(match config.is_projected() {
            true => weights.with_projection(zeros(ParameterKind::WeightHr)?),
            false => weights,
        })
    };
    config.layer_directions().map(of_layer).collect()
}
