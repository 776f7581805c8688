//! The grid of the input product, shaders/project.wgsl.

use crate::Result;
use crate::plan::limits::DeviceLimits;

/// Hidden units of a workgroup's tile; `TILE_UNITS` of the shader.
pub(crate) const TILE_UNITS: usize = 16;
/// (step, batch) rows of a workgroup's tile; `TILE_ROWS` of the shader.
pub(crate) const TILE_ROWS: usize = 64;

pub(crate) fn groups(rows: usize, hidden_size: usize, directions: usize) -> [u32; 3] {
    [hidden_size.div_ceil(TILE_UNITS) as u32, rows.div_ceil(TILE_ROWS) as u32, directions as u32]
}

/// The most rows of one dispatch.
pub(crate) fn max_rows(limits: &DeviceLimits) -> u64 {
    u64::from(limits.groups_per_dimension) * TILE_ROWS as u64
}

pub(crate) fn check_rows(what: &str, rows: u64, limits: &DeviceLimits) -> Result<()> {
    limits.groups(what, rows.div_ceil(TILE_ROWS as u64))
}
