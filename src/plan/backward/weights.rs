//! The grid of the kernels of the gradients of weights, shaders/backward/weight_gradient.wgsl, and the layout of what
//! they write.

use crate::config::RecurrentConfig;
use crate::error::Result;
use crate::plan::limits::{DeviceLimits, saturating_product};
use crate::plan::matrix::Matrix;

/// The units and columns of a workgroup; constants of the shader.
pub(crate) const TILE_UNITS: usize = 16;
pub(crate) const TILE_COLUMNS: usize = 64;
pub(crate) const TILE_ROWS: usize = 16;
/// The shader's workgroup size.
pub(crate) const WORKGROUP: [u32; 3] = [8, 8, 1];

/// The invocations of a workgroup that sums parts.
pub(crate) const SUM_INVOCATIONS: u32 = 256;

/// The most rows of one dispatch: a driver may end loops after 65,535 iterations.
pub(crate) const MAX_ROWS: usize = 16_384;

/// The gradient of a matrix of weights in device memory: in the layout of the weights, followed by that of the bias.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WeightGradient {
    pub(crate) matrix: Matrix,
    /// The number of gradients, one after another, that are added up in the end.
    pub(super) parts: usize,
}

/// The number of workgroups that keep a large GPU busy, of which each compute unit takes several.
const GROUPS: usize = 1024;
/// The most parts of a gradient, which bounds the memory that they take.
pub(super) const MAX_PARTS: usize = 16;

impl WeightGradient {
    /// Returns the gradients of a layer. A software adapter runs workgroups in turn, so that one part is enough.
    pub(crate) fn of_layer(config: &RecurrentConfig, layer: usize, software: bool) -> Vec<Self> {
        let with_parts = |matrix: Matrix| {
            let groups = groups(&matrix).iter().product::<usize>() * config.directions();
            let wanted = (GROUPS / groups.max(1)).clamp(1, MAX_PARTS);
            // A power of two, so that few kernels serve all sizes.
            Self { matrix, parts: if software { 1 } else { 1 << wanted.ilog2() } }
        };
        Matrix::without_biases(config, layer).map(with_parts).collect()
    }

    /// Returns the bytes of one part, which is the result.
    pub(crate) fn bytes(&self, directions: usize) -> u64 {
        // The kernel writes a bias for every matrix, and that of the projection is not read.
        let biases = [directions, self.matrix.units, self.matrix.gates.len(), size_of::<f32>()];
        self.matrix.bytes(directions).saturating_add(saturating_product(&biases.map(|n| n as u64)))
    }

    pub(super) fn groups(&self, directions: usize) -> [u32; 3] {
        let [units, columns] = groups(&self.matrix);
        [units as u32, columns as u32, (directions * self.parts) as u32]
    }

    /// Returns the grid of the sum of the parts.
    pub(super) fn sum_groups(&self, directions: usize, limits: &DeviceLimits) -> [u32; 3] {
        let groups = (self.bytes(directions) / size_of::<f32>() as u64).div_ceil(SUM_INVOCATIONS.into());
        let line = u64::from(limits.groups_per_dimension).min(groups).max(1);
        [line as u32, groups.div_ceil(line) as u32, 1]
    }

    pub(super) fn check(&self, what: &str, limits: &DeviceLimits) -> Result<()> {
        let floats = TILE_ROWS * (TILE_COLUMNS + TILE_UNITS * self.matrix.gates.len().next_power_of_two());
        limits.workgroup(what, WORKGROUP, (floats * size_of::<f32>()) as u64)?;
        limits.workgroup(what, [SUM_INVOCATIONS, 1, 1], 0)?;
        groups(&self.matrix).into_iter().try_for_each(|groups| limits.groups(what, groups as u64))
    }
}

/// Returns the workgroups of a direction, of units and of columns. The bias is one more column.
fn groups(matrix: &Matrix) -> [usize; 2] {
    [matrix.units.div_ceil(TILE_UNITS), (matrix.columns + 1).div_ceil(TILE_COLUMNS)]
}

/// Returns the ranges of rows of a chunk's dispatches.
pub(super) fn slices(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows.div_ceil(MAX_ROWS)).map(move |n| (n * MAX_ROWS, rows.min((n + 1) * MAX_ROWS)))
}
