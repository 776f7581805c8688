//! A layer's weights in a file under PyTorch's names.

use crate::cell_kind::CellKind;
use crate::config::RecurrentConfig;
use crate::weights::LayerWeights;
use crate::weights::names::{self, Parameter, ParameterKind};
use crate::weights::tensor_file::TensorFile;
use crate::{Error, Real, Result, Tensor};

/// The configuration and weights of the layer under `prefix`, which must be of `cell`'s kind.
pub(crate) fn read<F: Real>(
    cell: CellKind,
    file: &TensorFile,
    prefix: &str,
) -> Result<(RecurrentConfig, Vec<LayerWeights<F>>)> {
    let config = names::infer(cell, prefix, file.names(), |name| file.shape(name))?;
    let mut layers = Vec::new();
    for (layer, direction) in config.layer_directions() {
        let read = |kind| {
            let name = format!("{prefix}{}", Parameter { kind, layer, direction });
            let why = || format!("the other names under {prefix:?} describe {config}");
            file.tensor(&name)?.ok_or_else(|| Error::MissingTensor { name: name.clone(), why: why() })
        };
        let mut weights = LayerWeights::new(read(ParameterKind::WeightIh)?, read(ParameterKind::WeightHh)?);
        if config.bias {
            weights = weights.with_bias(read(ParameterKind::BiasIh)?, read(ParameterKind::BiasHh)?);
        }
        if config.is_projected() {
            weights = weights.with_projection(read(ParameterKind::WeightHr)?);
        }
        layers.push(weights);
    }
    Ok((config, layers))
}

/// The weights with their full names.
pub(crate) fn named<'a, F: Real>(
    config: &RecurrentConfig,
    layers: &'a [LayerWeights<F>],
    prefix: &str,
) -> Vec<(String, &'a Tensor<F>)> {
    let mut tensors = Vec::new();
    for ((layer, direction), weights) in config.layer_directions().zip(layers) {
        for kind in ParameterKind::ALL {
            if let Some(tensor) = weights.get(kind) {
                tensors.push((format!("{prefix}{}", Parameter { kind, layer, direction }), tensor));
            }
        }
    }
    tensors
}
