//! Layers that overlap: while a layer is at one chunk of time steps, the layer above is at the chunk before, and one dispatch takes a
//! step of both. For a stack of L layers that makes T + (L - 1)·C steps in a row out of L·T, for chunks of C steps.

use std::ops::Range;

use crate::config::RecurrentConfig;
use crate::error::{Error, Result};
use crate::plan::WEIGHT_BLOCK;
use crate::plan::limits::{DeviceLimits, check};
use crate::plan::params::{self, MAX_CHUNKS};

/// Layers lie behind each other in a buffer at multiples of so many elements, which every device can bind.
const ALIGNMENT: usize = 256;

/// Whether the layers of a model can overlap on a device.
pub(crate) fn check_model(config: &RecurrentConfig, limits: &DeviceLimits) -> Result<()> {
    let why = if config.num_layers < 2 {
        "there is one layer, and nothing to overlap it with"
    } else if config.bidirectional {
        "the reverse direction of a layer starts where the layer below ends"
    } else if config.is_projected() {
        "the projection of h is a dispatch of its own after each step"
    } else if config.cell.products().len() > 1 {
        "the second product of a step is a dispatch of its own"
    } else if config.num_layers > MAX_CHUNKS {
        "it takes at most 32 layers"
    } else if !limits.stacked_weights {
        "the recurrent weights of all layers are more than a buffer of this device may hold"
    } else {
        let bytes = params::block_bytes(MAX_CHUNKS) as u64;
        return check("the wavefront", "max_uniform_buffer_binding_size", bytes, limits.uniform_binding);
    };
    Err(Error::Unsupported { what: format!("the wavefront strategy for {config}"), why: why.to_owned() })
}

/// Steps of a chunk. Long ones leave layers idle at both ends, (L - 1)·C steps; short ones are L·T / C input products.
pub(crate) fn chunk_steps(time_steps: usize, layers: usize) -> usize {
    let steps = (time_steps as f64 * layers as f64 / (layers - 1).max(1) as f64).sqrt();
    (steps as usize).clamp(1, time_steps.max(1))
}

/// The layers that are at work in each wave: layer l is at chunk `wave - l`.
pub(crate) fn waves(layers: usize, chunks: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let count = if chunks == 0 { 0 } else { chunks + layers - 1 };
    (0..count).map(move |wave| layers_of(wave, layers, chunks))
}

/// The layers that are at work in a wave.
pub(crate) fn layers_of(wave: usize, layers: usize, chunks: usize) -> Range<usize> {
    (wave + 1).saturating_sub(chunks)..layers.min(wave + 1)
}

/// Elements, of the gates of a unit, from the recurrent weights of a layer to those of the next.
pub(crate) fn weights_of_layer(config: &RecurrentConfig) -> usize {
    let units = config.hidden_size.next_multiple_of(WEIGHT_BLOCK);
    (units * config.recurrent_size()).next_multiple_of(ALIGNMENT)
}

/// The same of the biases.
pub(crate) fn biases_of_layer(config: &RecurrentConfig) -> usize {
    config.hidden_size.next_multiple_of(ALIGNMENT)
}
