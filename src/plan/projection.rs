//! The grid of the projection of h, shaders/step/projection.wgsl.

use crate::config::RecurrentConfig;
use crate::error::Result;
use crate::plan::limits::DeviceLimits;

/// Values of h of a workgroup, and rows; the constants of the shader.
pub(crate) const TILE_VALUES: usize = 16;
pub(crate) const TILE_ROWS: usize = 4;
/// The shader's workgroup: values, and invocations that share a sum.
pub(crate) const WORKGROUP: [u32; 3] = [TILE_VALUES as u32, 1, 16];

pub(crate) fn groups(recurrent_size: usize, batch: usize, directions: usize) -> [u32; 3] {
    [recurrent_size.div_ceil(TILE_VALUES) as u32, batch.div_ceil(TILE_ROWS) as u32, directions as u32]
}

pub(crate) fn check(config: &RecurrentConfig, batch: usize, limits: &DeviceLimits) -> Result<()> {
    let what = "the projection of h";
    let invocations = WORKGROUP.iter().map(|&n| u64::from(n)).product::<u64>();
    limits.workgroup(what, WORKGROUP, invocations * (TILE_ROWS * size_of::<f32>()) as u64)?;
    limits.groups(what, config.recurrent_size().div_ceil(TILE_VALUES) as u64)?;
    limits.groups(what, batch.div_ceil(TILE_ROWS) as u64)?;
    limits.groups(what, config.directions() as u64)
}
