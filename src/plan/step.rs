//! The tiles and grids of the step kernels, shaders/step.wgsl and shaders/step_row.wgsl.

use std::fmt;

use crate::Result;
use crate::config::RecurrentConfig;
use crate::plan::limits::DeviceLimits;

/// Vectors of h that a workgroup stages at a time; `STAGED` of the shader.
pub(crate) const STAGED: usize = 512;

/// The shape of a workgroup: the shader's override constants of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StepTile {
    /// Several rows, four an invocation.
    Quads { units: u32, quads: u32, split: u32 },
    /// One row.
    Row { units: u32, split: u32 },
}

/// The tile for a batch. On a GPU it is always 256 invocations: the fewer rows there are to spread over them, the more of them
/// share a sum, so that few rows keep the whole GPU busy as well. A software adapter runs the invocations of a workgroup in
/// turn, a vector of them at a time, and gains nothing from sharing a sum: there a workgroup is small.
pub(crate) fn tile(batch: usize, software: bool) -> StepTile {
    match (batch, software) {
        (0..=1, false) => StepTile::Row { units: 8, split: 32 },
        (2..=4, false) => StepTile::Quads { units: 16, quads: 1, split: 16 },
        (5..=8, false) => StepTile::Quads { units: 16, quads: 2, split: 8 },
        (_, false) => StepTile::Quads { units: 16, quads: 4, split: 4 },
        (0..=1, true) => StepTile::Row { units: 32, split: 1 },
        (_, true) => StepTile::Quads { units: 32, quads: 1, split: 4 },
    }
}

impl StepTile {
    /// Why the tile was chosen, for people.
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::Row { split: 1, .. } => "one row, on a software adapter, which gains nothing from sharing a sum",
            Self::Row { .. } => "one row, so that only units and terms of a sum are parallel",
            Self::Quads { quads: 1, split: 4, .. } => {
                "several rows, on a software adapter, which runs invocations in turn"
            }
            Self::Quads { quads: 4, .. } => "many rows, which share each weight that is read",
            Self::Quads { .. } => "few rows, so that sums are shared to keep a GPU busy",
        }
    }

    /// Hidden units and batch rows of a workgroup.
    fn size(self) -> (usize, usize) {
        match self {
            Self::Quads { units, quads, .. } => (units as usize, 4 * quads as usize),
            Self::Row { units, .. } => (units as usize, 1),
        }
    }

    fn workgroup(self) -> [u32; 3] {
        match self {
            Self::Quads { units, quads, split } => [units, quads, split],
            Self::Row { units, split } => [units, 1, split],
        }
    }

    pub(crate) fn groups(self, hidden_size: usize, batch: usize, directions: usize) -> [u32; 3] {
        let (units, rows) = self.size();
        [hidden_size.div_ceil(units) as u32, batch.div_ceil(rows) as u32, directions as u32]
    }

    /// Bytes of workgroup memory: the staged h, and the partial sums of all gates.
    pub(crate) fn workgroup_storage(self, gate_floats: usize) -> u64 {
        let staged = match self {
            Self::Quads { .. } => STAGED * 4,
            Self::Row { .. } => 0,
        };
        let partial = self.workgroup().iter().product::<u32>() as usize * gate_floats;
        ((staged + partial) * size_of::<f32>()) as u64
    }

    pub(crate) fn check(self, config: &RecurrentConfig, batch: usize, limits: &DeviceLimits) -> Result<()> {
        let what = "the step kernel";
        limits.workgroup(what, self.workgroup(), self.workgroup_storage(config.cell.workgroup_floats()))?;
        let (units, rows) = self.size();
        limits.groups(what, config.hidden_size.div_ceil(units) as u64)?;
        limits.groups(what, batch.div_ceil(rows) as u64)
    }
}

/// For people.
impl fmt::Display for StepTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quads { units, quads, split } => {
                write!(f, "{units} units x {} rows, sum split {split}-fold", 4 * quads)
            }
            Self::Row { units, split } => write!(f, "{units} units x 1 row, sum split {split}-fold"),
        }
    }
}
