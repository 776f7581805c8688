//! The workgroup of the kernels for few rows, shaders/product/few_rows.wgsl.

/// The rows of a register tile, of which each invocation has one.
const ROWS: u32 = 4;

/// The number of vectors of four rows that a workgroup stages at a time; `STAGED` of shaders/product/staged_rows.wgsl.
pub(crate) const STAGED: usize = 512;

/// The shader's override constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FewRows {
    pub(crate) units: u32,
    pub(crate) row_tiles: u32,
    pub(crate) split: u32,
}

impl FewRows {
    pub(crate) fn overrides(self) -> Vec<(&'static str, u32)> {
        vec![("UNITS", self.units), ("ROW_TILES", self.row_tiles), ("SPLIT", self.split)]
    }

    /// Returns the rows of a workgroup.
    pub(crate) const fn rows(self) -> u32 {
        ROWS * self.row_tiles
    }

    pub(crate) const fn workgroup(self) -> [u32; 3] {
        [self.units, self.row_tiles, self.split]
    }

    /// Returns the floats of workgroup memory: staged rows, and each invocation's sums of all gates.
    pub(crate) const fn workgroup_floats(self, gate_floats: usize) -> usize {
        ROWS as usize * STAGED + (self.units * self.row_tiles * self.split) as usize * gate_floats
    }
}
