//! The grid of the kernels of the gradients of weights, shaders/backward/weight_gradient.wgsl, and the layout of what
//! they write.

use crate::config::RecurrentConfig;
use crate::error::Result;
use crate::plan::WEIGHT_BLOCK;
use crate::plan::kernel::WeightArray;
use crate::plan::limits::{DeviceLimits, saturating_product};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WeightGradient {
    /// The weights.
    pub(crate) array: WeightArray,
    units: usize,
    pub(super) columns: usize,
    gates: usize,
    block: usize,
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
        let with_parts = |gradient: Self| {
            let groups = gradient.groups(config.directions()).iter().map(|&n| n as usize).product::<usize>();
            let wanted = (GROUPS / groups.max(1)).clamp(1, MAX_PARTS);
            // A power of two, so that few kernels serve all sizes.
            Self { parts: if software { 1 } else { 1 << wanted.ilog2() }, ..gradient }
        };
        let of_gates = |array, columns, gates| {
            let (units, block) = (config.hidden_size, WEIGHT_BLOCK);
            with_parts(Self { array, units, columns, gates, block, parts: 1 })
        };
        let mut all = vec![of_gates(WeightArray::Ih, config.layer_input_size(layer), config.cell.gates())];
        for (product, gates) in config.cell.products().iter().enumerate() {
            all.push(of_gates(WeightArray::Hh(product), config.recurrent_size(), gates.len()));
        }
        if config.is_projected() {
            let units = config.recurrent_size();
            let (array, columns) = (WeightArray::Hr, config.hidden_size);
            all.push(with_parts(Self { array, units, columns, gates: 1, block: units, parts: 1 }));
        }
        all
    }

    /// Returns the bytes of one part, which is the result.
    pub(crate) fn bytes(&self, directions: usize) -> u64 {
        let units = self.units.next_multiple_of(self.block);
        let weights = saturating_product(&[units, self.columns, self.gates].map(|n| n as u64));
        let of_direction = weights.saturating_add((self.units * self.gates) as u64);
        saturating_product(&[directions as u64, of_direction, size_of::<f32>() as u64])
    }

    pub(super) fn groups(&self, directions: usize) -> [u32; 3] {
        // The bias is one more column.
        let columns = (self.columns + 1).div_ceil(TILE_COLUMNS);
        [self.units.div_ceil(TILE_UNITS) as u32, columns as u32, (directions * self.parts) as u32]
    }

    /// Returns the grid of the sum of the parts.
    pub(super) fn sum_groups(&self, directions: usize, limits: &DeviceLimits) -> [u32; 3] {
        let groups = (self.bytes(directions) / size_of::<f32>() as u64).div_ceil(SUM_INVOCATIONS.into());
        let line = u64::from(limits.groups_per_dimension).min(groups).max(1);
        [line as u32, groups.div_ceil(line) as u32, 1]
    }

    pub(super) fn check(&self, what: &str, limits: &DeviceLimits) -> Result<()> {
        let floats = TILE_ROWS * (TILE_COLUMNS + TILE_UNITS * self.gates.next_power_of_two());
        limits.workgroup(what, WORKGROUP, (floats * size_of::<f32>()) as u64)?;
        limits.workgroup(what, [SUM_INVOCATIONS, 1, 1], 0)?;
        limits.groups(what, self.units.div_ceil(TILE_UNITS) as u64)?;
        limits.groups(what, (self.columns + 1).div_ceil(TILE_COLUMNS) as u64)
    }
}

/// Returns the ranges of rows of a chunk's dispatches.
pub(super) fn slices(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows.div_ceil(MAX_ROWS)).map(move |n| (n * MAX_ROWS, rows.min((n + 1) * MAX_ROWS)))
}
