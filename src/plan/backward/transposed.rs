//! The tiles and grids of the kernels with a transposed product, shaders/product/transposed.wgsl.

use crate::error::Result;
use crate::plan::WEIGHT_BLOCK;
use crate::plan::limits::DeviceLimits;

/// The shape of a workgroup: the shader's override constants of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TransposedTile {
    /// Invocations side by side, of four values each.
    columns: u32,
    /// Tiles of four rows.
    row_tiles: u32,
    split: u32,
}

/// The values and the rows of an invocation.
const OWN: usize = 4;

/// Every tile that [`tile`] chooses from. The fewer rows there are, the more invocations share a sum, so that few rows
/// keep a GPU busy as well; the more there are, the more of them share what is read of the weights.
pub(super) const TILES: [TransposedTile; 3] = [FEW_ROWS, MANY_ROWS, SOFTWARE];

const FEW_ROWS: TransposedTile = TransposedTile { columns: 1, row_tiles: 1, split: 16 };
const MANY_ROWS: TransposedTile = TransposedTile { columns: 2, row_tiles: 4, split: 4 };
/// A software adapter runs the invocations of a workgroup in turn and gains nothing from sharing a sum.
const SOFTWARE: TransposedTile = TransposedTile { columns: 4, row_tiles: 2, split: 1 };

/// Every tile that [`tile_of_chunks`] chooses from.
pub(super) const CHUNK_TILES: [TransposedTile; 2] = [CHUNK, SOFTWARE];

/// A tile that shares everything but sums.
const CHUNK: TransposedTile = TransposedTile { columns: 4, row_tiles: 4, split: 1 };

/// Returns the tile for a batch. It must not depend on T, or results would depend on how a sequence is cut.
pub(super) fn tile(batch: usize, limits: &DeviceLimits) -> TransposedTile {
    match batch {
        _ if limits.software => SOFTWARE,
        0..=16 => FEW_ROWS,
        _ => MANY_ROWS,
    }
}

/// Returns the tile for the rows of whole chunks, of which there are mostly many.
pub(super) fn tile_of_chunks(limits: &DeviceLimits) -> TransposedTile {
    if limits.software { SOFTWARE } else { CHUNK }
}

impl TransposedTile {
    /// Returns the shader's override constants.
    pub(crate) fn overrides(self) -> Vec<(&'static str, u32)> {
        vec![("COLUMNS", self.columns), ("ROW_TILES", self.row_tiles), ("SPLIT", self.split)]
    }

    fn workgroup(self) -> [u32; 3] {
        [WEIGHT_BLOCK as u32, self.columns, self.row_tiles * self.split]
    }

    /// Returns the rows of a workgroup.
    pub(super) fn rows(self) -> usize {
        OWN * self.row_tiles as usize
    }

    fn columns(self) -> usize {
        OWN * self.columns as usize
    }

    pub(super) fn groups(self, columns: usize, rows: usize, directions: usize) -> [u32; 3] {
        [columns.div_ceil(self.columns()) as u32, rows.div_ceil(self.rows()) as u32, directions as u32]
    }

    /// Checks a product with `columns` values and `rows` rows.
    pub(super) fn check(self, what: &str, columns: usize, rows: usize, limits: &DeviceLimits) -> Result<()> {
        let invocations: u64 = self.workgroup().iter().map(|&n| u64::from(n)).product();
        let storage = invocations * (OWN * OWN * size_of::<f32>()) as u64;
        limits.workgroup(what, self.workgroup(), storage)?;
        limits.groups(what, columns.div_ceil(self.columns()) as u64)?;
        limits.groups(what, rows.div_ceil(self.rows()) as u64)
    }
}
