//! Overlapping layers: while a layer is at one chunk of time steps, the layer above is at the previous chunk, and one
//! dispatch runs a step of both. For a stack of L layers with chunks of C steps, that makes T + (L - 1)·C consecutive
//! steps instead of L·T.

use std::ops::Range;

use crate::config::RecurrentConfig;
use crate::error::{Error, Result};
use crate::plan::WEIGHT_BLOCK;
use crate::plan::limits::{DeviceLimits, check};
use crate::plan::params::{self, MAX_CHUNKS};

/// The number of elements to whose multiples layers are aligned in a buffer, which every device can bind.
const ALIGNMENT: usize = 256;

/// Checks that the layers of a model can overlap on a device.
pub(crate) fn check_model(config: &RecurrentConfig, limits: &DeviceLimits) -> Result<()> {
    let why = if config.num_layers < 2 {
        "one layer has nothing to overlap with"
    } else if config.bidirectional {
        "the reverse direction of a layer starts where the layer below ends"
    } else if config.is_projected() {
        "the projection of h needs a separate dispatch after each step"
    } else if config.cell.products().len() > 1 {
        "the second product of a step needs a separate dispatch"
    } else if config.num_layers > MAX_CHUNKS {
        "it runs at most 32 layers"
    } else if !limits.stacked_weights {
        "the recurrent weights of all layers exceed the largest buffer of this device"
    } else {
        let bytes = params::block_bytes(MAX_CHUNKS) as u64;
        return check("the wavefront", "max_uniform_buffer_binding_size", bytes, limits.uniform_binding);
    };
    Err(Error::Unsupported { what: format!("the wavefront strategy for {config}"), why: why.to_owned() })
}

/// Returns the steps of a chunk. Long chunks leave layers idle at both ends, for (L - 1)·C steps; short ones mean L·T /
/// C input products.
pub(crate) fn chunk_steps(time_steps: usize, layers: usize) -> usize {
    let steps = (time_steps as f64 * layers as f64 / (layers - 1).max(1) as f64).sqrt();
    (steps as usize).clamp(1, time_steps.max(1))
}

/// Returns the layers that are active in each wave: layer l is at chunk `wave - l`.
pub(crate) fn waves(layers: usize, chunks: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let count = if chunks == 0 { 0 } else { chunks + layers - 1 };
    (0..count).map(move |wave| layers_of(wave, layers, chunks))
}

/// Returns the layers that are active in a wave.
fn layers_of(wave: usize, layers: usize, chunks: usize) -> Range<usize> {
    (wave + 1).saturating_sub(chunks)..layers.min(wave + 1)
}

/// Returns the elements, each the gates of a unit, from the recurrent weights of one layer to those of the next.
pub(crate) fn weights_of_layer(config: &RecurrentConfig) -> usize {
    let units = config.hidden_size.next_multiple_of(WEIGHT_BLOCK);
    (units * config.recurrent_size()).next_multiple_of(ALIGNMENT)
}

/// Returns the same for the biases, which peepholes follow.
pub(crate) fn biases_of_layer(config: &RecurrentConfig) -> usize {
    let arrays = if config.form.peepholes { 2 } else { 1 };
    (arrays * config.hidden_size).next_multiple_of(ALIGNMENT)
}
