//! Seeded initialization by PyTorch's rule: every tensor, biases included, is uniform in ±1/√H
//! (`torch.nn.RNNBase.reset_parameters`). The numbers are not PyTorch's, which uses a different generator.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::config::RecurrentConfig;
use crate::error::{Error, Result};
use crate::memory::zeroed;
use crate::tensor::Tensor;
use crate::weights::LayerWeights;
use crate::weights::names::ParameterKind;

/// Returns weights for every (layer, direction); the same seed gives the same weights on every machine.
pub(crate) fn uniform(config: &RecurrentConfig, seed: u64) -> Result<Vec<LayerWeights>> {
    let bound = 1.0 / (config.hidden_size as f32).sqrt();
    let mut rng = Pcg64::seed_from_u64(seed);
    let mut draw = |kind: ParameterKind, layer| {
        let shape = kind.shape(config, layer);
        let mut data = zeroed(&format!("{kind:?}"), &shape)?;
        data.fill_with(|| rng.random_range(-bound..=bound));
        Tensor::new(shape, data)
    };
    let mut layers = Vec::new();
    let count = config.layers_and_directions();
    layers.try_reserve_exact(count).map_err(|_| Error::TooLarge {
        what: "the weights of all layers".to_owned(),
        shape: vec![count],
        bytes_each: size_of::<LayerWeights>(),
    })?;
    for (layer, _) in config.layer_directions() {
        let mut weights =
            LayerWeights::new(draw(ParameterKind::WeightIh, layer)?, draw(ParameterKind::WeightHh, layer)?);
        if config.bias {
            weights = weights.with_bias(draw(ParameterKind::BiasIh, layer)?, draw(ParameterKind::BiasHh, layer)?);
        }
        if config.is_projected() {
            weights = weights.with_projection(draw(ParameterKind::WeightHr, layer)?);
        }
        if config.form.peepholes {
            weights = weights.with_peephole(draw(ParameterKind::Peephole, layer)?);
        }
        layers.push(weights);
    }
    Ok(layers)
}
