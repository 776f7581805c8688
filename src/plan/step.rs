//! The tile and grid of the step kernel, shaders/step.wgsl.

use crate::Result;
use crate::config::RecurrentConfig;
use crate::plan::limits::DeviceLimits;

/// How many values of h a workgroup stages at a time; `TILE_K` of the shader.
pub(crate) const TILE_K: usize = 64;

/// The shape of a workgroup: the shader's override constants of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StepTile {
    /// Hidden units.
    pub(crate) units: u32,
    /// Batch rows.
    pub(crate) rows: u32,
    /// Invocations that share the sum over k of one (unit, row).
    pub(crate) split: u32,
}

/// The tile for a batch: always 256 invocations. The fewer rows there are to spread over them, the more of them share a
/// sum, so that a single row keeps the whole GPU busy.
pub(crate) fn tile(batch: usize) -> StepTile {
    match batch {
        // One row: only units and k are parallel.
        0..=1 => StepTile { units: 8, rows: 1, split: 32 },
        // A few rows: four rows share what is read of the weights.
        2..=8 => StepTile { units: 16, rows: 4, split: 4 },
        // Many rows: sixteen rows share it, and no sum needs to be split.
        _ => StepTile { units: 16, rows: 16, split: 1 },
    }
}

impl StepTile {
    pub(crate) fn groups(self, hidden_size: usize, batch: usize, directions: usize) -> [u32; 3] {
        let over = |size: usize, tile: u32| size.div_ceil(tile as usize) as u32;
        [over(hidden_size, self.units), over(batch, self.rows), directions as u32]
    }

    /// Bytes of workgroup memory: the staged h, and the partial sums of all gates.
    pub(crate) fn workgroup_storage(self, gate_floats: usize) -> u64 {
        let floats = self.rows as usize * TILE_K + (self.units * self.rows * self.split) as usize * gate_floats;
        (floats * size_of::<f32>()) as u64
    }

    pub(crate) fn check(self, config: &RecurrentConfig, batch: usize, limits: &DeviceLimits) -> Result<()> {
        let what = "the step kernel";
        let workgroup = [self.units, self.rows, self.split];
        limits.workgroup(what, workgroup, self.workgroup_storage(config.cell.workgroup_floats()))?;
        limits.groups(what, config.hidden_size.div_ceil(self.units as usize) as u64)?;
        limits.groups(what, batch.div_ceil(self.rows as usize) as u64)
    }
}
