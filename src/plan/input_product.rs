//! The tiles and grid of the input product, shaders/input_product/{tiled,few_rows}.wgsl.

use std::fmt;
use std::ops::Range;

use crate::config::RecurrentConfig;
use crate::error::Result;
use crate::plan::count::Count;
use crate::plan::few_rows::FewRows;
use crate::plan::kernel::Kernel;
use crate::plan::limits::DeviceLimits;

/// The kernel and the shape of its workgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum InputProductTile {
    /// Tiles of x and of weights in workgroup memory.
    Tiled,
    /// Few rows: an invocation has four rows of one unit, and several invocations share a sum.
    FewRows(FewRows),
}

/// Every tile that [`tile`] chooses from.
pub(crate) const TILES: [InputProductTile; 2] = [InputProductTile::Tiled, FEW_ROWS_TILE];

const FEW_ROWS_TILE: InputProductTile = InputProductTile::FewRows(FewRows { units: 8, row_tiles: 2, split: 16 });

/// Returns the kernel for a device and a batch. It must not depend on T, or results would depend on how a sequence is
/// cut. Software adapters run the invocations of a workgroup in turn and gain nothing from a shared sum.
pub(crate) fn tile(config: &RecurrentConfig, batch: usize, limits: &DeviceLimits) -> InputProductTile {
    match limits.software {
        false if batch <= FEW_ROWS && FEW_ROWS_TILE.check_workgroup(config, limits).is_ok() => FEW_ROWS_TILE,
        _ => InputProductTile::Tiled,
    }
}

/// The largest batch for which the rows of a product are, or may be, few: those of one step, or of a chunk of a wave.
const FEW_ROWS: usize = 4;

/// The name of the kernel in errors.
const WHAT: &str = "the input product";

/// The features that a workgroup of the tiled kernel stages at a time; `TILE_K` of the shader.
pub(crate) const TILE_K: usize = 16;

impl InputProductTile {
    pub(crate) fn kernel(self) -> Kernel {
        match self {
            Self::Tiled => Kernel::InputProduct,
            Self::FewRows(_) => Kernel::InputProductFewRows,
        }
    }

    /// Returns the shader's override constants.
    pub(crate) fn overrides(self) -> Vec<(&'static str, u32)> {
        match self {
            Self::Tiled => Vec::new(),
            Self::FewRows(tile) => tile.overrides(),
        }
    }

    /// Returns the hidden units of a workgroup; `TILE_UNITS` of the tiled kernel.
    pub(crate) const fn units(self) -> usize {
        match self {
            Self::Tiled => 16,
            Self::FewRows(tile) => tile.units as usize,
        }
    }

    /// Returns the (step, batch) rows of a workgroup; `TILE_ROWS` of the tiled kernel.
    pub(crate) const fn rows(self) -> usize {
        match self {
            Self::Tiled => 64,
            Self::FewRows(tile) => tile.rows() as usize,
        }
    }

    /// Returns the shader's workgroup size.
    pub(crate) const fn workgroup(self) -> [u32; 3] {
        match self {
            Self::Tiled => [8, 8, 1],
            Self::FewRows(tile) => tile.workgroup(),
        }
    }

    /// Returns the bytes of workgroup memory: a tile of x and a tile of the weights of all gates, or sums.
    fn workgroup_storage(self, gate_floats: usize) -> u64 {
        let floats = match self {
            Self::Tiled => TILE_K * (self.rows() + self.units() * gate_floats),
            Self::FewRows(tile) => tile.workgroup_floats(gate_floats),
        };
        (floats * size_of::<f32>()) as u64
    }

    fn check_workgroup(self, config: &RecurrentConfig, limits: &DeviceLimits) -> Result<()> {
        limits.workgroup(WHAT, self.workgroup(), self.workgroup_storage(config.cell.workgroup_floats()))
    }

    pub(crate) fn groups(self, rows: usize, hidden_size: usize, directions: usize) -> [u32; 3] {
        [hidden_size.div_ceil(self.units()) as u32, rows.div_ceil(self.rows()) as u32, directions as u32]
    }

    /// Returns the most rows of one dispatch.
    pub(crate) fn max_rows(self, limits: &DeviceLimits) -> u64 {
        u64::from(limits.groups_per_dimension) * self.rows() as u64
    }

    /// Checks that a device can run the kernel at all, and for `rows` rows of one time step.
    pub(crate) fn check(self, config: &RecurrentConfig, rows: u64, limits: &DeviceLimits) -> Result<()> {
        self.check_workgroup(config, limits)?;
        limits.groups(WHAT, config.hidden_size.div_ceil(self.units()) as u64)?;
        limits.groups(WHAT, rows.div_ceil(self.rows() as u64))?;
        limits.groups(WHAT, config.directions() as u64)
    }
}

/// Writes the tile for people.
impl fmt::Display for InputProductTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} units x {}", self.units(), Count(self.rows(), "row"))?;
        match self {
            Self::FewRows(tile) if tile.split > 1 => write!(f, ", sum split {}-fold", tile.split),
            _ => Ok(()),
        }
    }
}

/// The most features that one dispatch sums over, which bounds its time and the iterations of its loops (see the
/// shader).
pub(crate) const MAX_FEATURES: usize = 16_384;

/// Returns the number of dispatches that sum over `features` features.
pub(crate) fn slices(features: usize) -> usize {
    features.div_ceil(MAX_FEATURES)
}

/// Returns the features of slice number `slice`; empty past the last one.
pub(crate) fn slice(features: usize, slice: usize) -> Range<usize> {
    let at = |slice: usize| slice.saturating_mul(MAX_FEATURES).min(features);
    at(slice)..at(slice + 1)
}
