//! The workgroup of the kernels of a few rows, shaders/quads.wgsl.

/// Rows of a quad, which an invocation has.
const ROWS: u32 = 4;

/// Vectors of four rows that a workgroup stages at a time; `STAGED` of shaders/stage.wgsl.
pub(crate) const STAGED: usize = 512;

/// The shader's override constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Quads {
    pub(crate) units: u32,
    pub(crate) quads: u32,
    pub(crate) split: u32,
}

impl Quads {
    pub(crate) fn overrides(self) -> Vec<(&'static str, u32)> {
        vec![("UNITS", self.units), ("QUADS", self.quads), ("SPLIT", self.split)]
    }

    /// Rows of a workgroup.
    pub(crate) const fn rows(self) -> u32 {
        ROWS * self.quads
    }

    pub(crate) const fn workgroup(self) -> [u32; 3] {
        [self.units, self.quads, self.split]
    }

    /// Floats of workgroup memory: staged rows, and a sum of all gates of each invocation.
    pub(crate) const fn workgroup_floats(self, gate_floats: usize) -> usize {
        ROWS as usize * STAGED + (self.units * self.quads * self.split) as usize * gate_floats
    }
}
