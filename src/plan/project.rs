//! The grid of the input product, shaders/project.wgsl.

use std::ops::Range;

use crate::Result;
use crate::config::RecurrentConfig;
use crate::plan::limits::DeviceLimits;

/// Hidden units of a workgroup's tile; `TILE_UNITS` of the shader.
pub(crate) const TILE_UNITS: usize = 16;
/// (step, batch) rows of a workgroup's tile; `TILE_ROWS` of the shader.
pub(crate) const TILE_ROWS: usize = 64;
/// Features that a workgroup stages at a time; `TILE_K` of the shader.
pub(crate) const TILE_K: usize = 16;

pub(crate) fn groups(rows: usize, hidden_size: usize, directions: usize) -> [u32; 3] {
    [hidden_size.div_ceil(TILE_UNITS) as u32, rows.div_ceil(TILE_ROWS) as u32, directions as u32]
}

/// The most rows of one dispatch.
pub(crate) fn max_rows(limits: &DeviceLimits) -> u64 {
    u64::from(limits.groups_per_dimension) * TILE_ROWS as u64
}

/// The most features that one dispatch sums over: keeps its loops short (see the shader) and its time as well.
pub(crate) const MAX_FEATURES: usize = 16_384;

/// How many dispatches sum over `features` features.
pub(crate) fn slices(features: usize) -> usize {
    features.div_ceil(MAX_FEATURES)
}

/// The features of slice number `slice`; empty beyond the last.
pub(crate) fn slice(features: usize, slice: usize) -> Range<usize> {
    let at = |slice: usize| slice.saturating_mul(MAX_FEATURES).min(features);
    at(slice)..at(slice + 1)
}

/// The shader's workgroup: 16 x 16 invocations.
pub(crate) const WORKGROUP: [u32; 2] = [16, 16];

/// Bytes of workgroup memory: a tile of x, and a tile of weights of all gates.
pub(crate) fn workgroup_storage(gate_floats: usize) -> u64 {
    ((TILE_K * TILE_ROWS + TILE_K * TILE_UNITS * gate_floats) * size_of::<f32>()) as u64
}

/// Whether a device can run the kernel at all, and for `rows` rows of one time step.
pub(crate) fn check(config: &RecurrentConfig, rows: u64, limits: &DeviceLimits) -> Result<()> {
    let what = "the input product";
    let [x, y] = WORKGROUP;
    limits.workgroup(what, [x, y, 1], workgroup_storage(config.cell.workgroup_floats()))?;
    limits.groups(what, config.hidden_size.div_ceil(TILE_UNITS) as u64)?;
    limits.groups(what, rows.div_ceil(TILE_ROWS as u64))?;
    limits.groups(what, config.directions() as u64)
}
