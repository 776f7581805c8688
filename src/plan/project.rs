//! The grid of the input product, shaders/project.wgsl and shaders/project_octets.wgsl.

use std::ops::Range;

use crate::Result;
use crate::config::RecurrentConfig;
use crate::plan::kernel::Kernel;
use crate::plan::limits::DeviceLimits;

/// The kernel, whose workgroup has one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ProjectTile {
    /// Tiles in workgroup memory.
    Tiled,
    /// Lanes that lend each other what they load.
    Octets,
}

/// The kernel for a device. It must not depend on T, or results would depend on how a sequence is cut.
pub(crate) fn tile(limits: &DeviceLimits) -> ProjectTile {
    if limits.software && limits.has_octets() { ProjectTile::Octets } else { ProjectTile::Tiled }
}

/// Features that a workgroup of the tiled kernel stages at a time; `TILE_K` of the shader.
pub(crate) const TILE_K: usize = 16;

impl ProjectTile {
    pub(crate) fn kernel(self) -> Kernel {
        match self {
            Self::Tiled => Kernel::Project,
            Self::Octets => Kernel::ProjectOctets,
        }
    }

    /// Hidden units of a workgroup; `TILE_UNITS` of the shader.
    pub(crate) const fn units(self) -> usize {
        match self {
            Self::Tiled => 16,
            Self::Octets => 32,
        }
    }

    /// (step, batch) rows of a workgroup; `TILE_ROWS` of the shader.
    pub(crate) const fn rows(self) -> usize {
        match self {
            Self::Tiled => 64,
            Self::Octets => 16,
        }
    }

    /// The shader's workgroup.
    pub(crate) const fn workgroup(self) -> [u32; 3] {
        match self {
            Self::Tiled => [8, 8, 1],
            Self::Octets => [32, 1, 1],
        }
    }

    /// Bytes of workgroup memory: a tile of x, and a tile of weights of all gates.
    fn workgroup_storage(self, gate_floats: usize) -> u64 {
        match self {
            Self::Tiled => (TILE_K * (self.rows() + self.units() * gate_floats) * size_of::<f32>()) as u64,
            Self::Octets => 0,
        }
    }

    pub(crate) fn groups(self, rows: usize, hidden_size: usize, directions: usize) -> [u32; 3] {
        [hidden_size.div_ceil(self.units()) as u32, rows.div_ceil(self.rows()) as u32, directions as u32]
    }

    /// The most rows of one dispatch.
    pub(crate) fn max_rows(self, limits: &DeviceLimits) -> u64 {
        u64::from(limits.groups_per_dimension) * self.rows() as u64
    }

    /// Whether a device can run the kernel at all, and for `rows` rows of one time step.
    pub(crate) fn check(self, config: &RecurrentConfig, rows: u64, limits: &DeviceLimits) -> Result<()> {
        let what = "the input product";
        limits.workgroup(what, self.workgroup(), self.workgroup_storage(config.cell.workgroup_floats()))?;
        limits.groups(what, config.hidden_size.div_ceil(self.units()) as u64)?;
        limits.groups(what, rows.div_ceil(self.rows() as u64))?;
        limits.groups(what, config.directions() as u64)
    }
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
