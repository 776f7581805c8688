//! The weights of a layer or cell in a file under PyTorch's names.

use crate::cell_kind::CellKind;
use crate::config::RecurrentConfig;
use crate::error::{ArgumentMismatch, Error, Result};
use crate::memory::reserved;
use crate::real::Real;
use crate::tensor::Tensor;
use crate::weights::LayerWeights;
use crate::weights::names::{self, Naming, Parameter, ParameterKind};
use crate::weights::recorded::Recorded;
use crate::weights::tensor_file::TensorFile;

/// Reads the configuration and weights of the layer or cell under `prefix`, which must be of `cell`'s kind.
pub(crate) fn read<F: Real>(
    naming: Naming,
    cell: CellKind,
    file: &TensorFile,
    prefix: &str,
) -> Result<(RecurrentConfig, Vec<LayerWeights<F>>)> {
    let mut config = names::infer(naming, cell, prefix, file.names(), |name| file.shape(name))?;
    Recorded::read(file, prefix)?.apply(&mut config);
    let layers = load(naming, &config, file, prefix)?;
    Ok((config, layers))
}

/// Reads the weights of the layer or cell under `prefix`, which must be the one that `config` describes.
pub(crate) fn read_as_configured<F: Real>(
    naming: Naming,
    config: &RecurrentConfig,
    file: &TensorFile,
    prefix: &str,
) -> Result<Vec<LayerWeights<F>>> {
    config.validate::<F>()?;
    let found = names::infer(naming, config.cell, prefix, file.names(), |name| file.shape(name))?;
    let recorded = Recorded::read(file, prefix)?;
    let mismatches: Vec<_> = differences(config, &found).into_iter().chain(recorded.differences(config)).collect();
    if !mismatches.is_empty() {
        return Err(Error::ConfigMismatch { what: naming.what(), prefix: prefix.to_owned(), mismatches });
    }
    load(naming, config, file, prefix)
}

/// Returns the arguments that names and shapes show and that differ.
fn differences(config: &RecurrentConfig, found: &RecurrentConfig) -> Vec<ArgumentMismatch> {
    let mut mismatches = Vec::new();
    let mut compare = |argument, expected: &dyn ToString, got: &dyn ToString| {
        let (expected, got) = (expected.to_string(), got.to_string());
        if expected != got {
            mismatches.push(ArgumentMismatch { argument, expected, got });
        }
    };
    compare("input_size", &config.input_size, &found.input_size);
    compare("hidden_size", &config.hidden_size, &found.hidden_size);
    compare("num_layers", &config.num_layers, &found.num_layers);
    compare("bias", &config.bias, &found.bias);
    compare("bidirectional", &config.bidirectional, &found.bidirectional);
    compare("proj_size", &config.proj_size, &found.proj_size);
    mismatches
}

/// Reads the parameters of `config`, all of which exist.
fn load<F: Real>(
    naming: Naming,
    config: &RecurrentConfig,
    file: &TensorFile,
    prefix: &str,
) -> Result<Vec<LayerWeights<F>>> {
    let mut layers = reserved("the weights of all layers", &[config.layers_and_directions()])?;
    for (layer, direction) in config.layer_directions() {
        let read = |kind| {
            let name = naming.name(prefix, Parameter { kind, layer, direction });
            let why = || format!("the model is {}", naming.describe(config));
            file.weight(&name)?.ok_or_else(|| Error::MissingTensor { name: name.clone(), why: why() })
        };
        let mut weights = LayerWeights::new(read(ParameterKind::WeightIh)?, read(ParameterKind::WeightHh)?);
        if config.bias {
            weights = weights.with_bias(read(ParameterKind::BiasIh)?, read(ParameterKind::BiasHh)?);
        }
        if config.is_projected() {
            weights = weights.with_projection(read(ParameterKind::WeightHr)?);
        }
        if config.form.peepholes {
            weights = weights.with_peephole(read(ParameterKind::Peephole)?);
        }
        layers.push(weights);
    }
    Ok(layers)
}

/// Writes a layer or cell under its full names, with the arguments that weights do not record in the file's metadata.
pub(crate) fn save<F: Real>(
    naming: Naming,
    config: &RecurrentConfig,
    layers: &[LayerWeights<F>],
    path: &std::path::Path,
    prefix: &str,
) -> Result<()> {
    let mut tensors: Vec<(String, &Tensor<F>)> = Vec::new();
    for ((layer, direction), weights) in config.layer_directions().zip(layers) {
        for kind in ParameterKind::ALL {
            if let Some(tensor) = weights.get(kind) {
                tensors.push((naming.name(prefix, Parameter { kind, layer, direction }), tensor));
            }
        }
    }
    TensorFile::save_with_metadata(path, &tensors, &Recorded::of(naming, config).entries(prefix))
}
