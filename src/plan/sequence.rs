//! The workgroup of the sequence kernel, shaders/sequence.wgsl.

use std::fmt;

use crate::config::RecurrentConfig;
use crate::error::{Error, Result};
use crate::plan::limits::{DeviceLimits, MAX_TURNS};

/// The shape of a workgroup, which owns a row: the shader's override constants of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SequenceTile {
    pub(crate) units: u32,
    pub(crate) split: u32,
    pub(crate) held: bool,
}

/// The values of k whose weights an invocation can hold in registers: four blocks of four in the shader.
const HELD_VALUES: usize = 16;
/// The largest H whose weights a workgroup of 256 invocations can hold.
const MAX_HELD: usize = 64;
/// The rows per line of the grid, whose dimensions are limited; `ROWS_OF_LINE` of the shader.
pub(crate) const ROWS_OF_LINE: usize = 32_768;
/// The smallest workgroup.
const MIN_UNITS: usize = 16;
/// The largest workgroup that is used, even if a device allows more.
const MAX_INVOCATIONS: u32 = 1024;
/// The values of k per block; an invocation that shares a sum takes at least one block.
const BLOCK: usize = 4;

/// Returns the workgroup for a hidden size, if the device can run it. The sum is split so that all invocations of a
/// workgroup have work; a software adapter runs them in turn and gains nothing from that.
pub(crate) fn tile(config: &RecurrentConfig, limits: &DeviceLimits) -> Result<SequenceTile> {
    let rejected =
        |why: &str| Error::Unsupported { what: format!("the sequence strategy for {config}"), why: why.to_owned() };
    if config.is_projected() {
        return Err(rejected("the projection of h needs a separate dispatch after each step"));
    }
    if config.cell.products().len() > 1 {
        return Err(rejected("the second product of a step needs a separate dispatch"));
    }
    let units = config.hidden_size.max(MIN_UNITS).checked_next_power_of_two().unwrap_or(usize::MAX);
    let held = units <= MAX_HELD;
    let available = limits.workgroup_invocations.min(MAX_INVOCATIONS) as usize;
    let split = match held {
        true => units / HELD_VALUES,
        false if limits.software => 1,
        false => {
            let most = (config.hidden_size / BLOCK).min(limits.workgroup_size[2] as usize);
            let split = (available / units).min(most).max(1);
            // A power of two, so that the set of kernels that ship is known.
            1 << split.ilog2()
        }
    };
    let mut tile = SequenceTile { units: u32::try_from(units).unwrap_or(u32::MAX), split: split as u32, held };
    let floats = config.cell.workgroup_floats();
    // Too little memory for a larger workgroup is no reason to reject a smaller one.
    while !held && tile.split > 1 && tile.workgroup_storage(floats) > limits.workgroup_storage.into() {
        tile.split /= 2;
    }
    let what = "the sequence kernel";
    limits.groups(what, ROWS_OF_LINE as u64)?;
    limits.workgroup(what, tile.workgroup(), tile.workgroup_storage(floats))?;
    Ok(tile)
}

/// Every tile that [`tile`] chooses from.
pub(crate) fn tiles() -> impl Iterator<Item = SequenceTile> {
    let units = (MIN_UNITS.ilog2()..=MAX_INVOCATIONS.ilog2()).map(|bit| 1 << bit);
    units.flat_map(|units: u32| {
        let held = units as usize <= MAX_HELD;
        let splits =
            if held { units / HELD_VALUES as u32..=units / HELD_VALUES as u32 } else { 1..=MAX_INVOCATIONS / units };
        splits.filter(|split| split.is_power_of_two()).map(move |split| SequenceTile { units, split, held })
    })
}

impl SequenceTile {
    pub(crate) fn overrides(self) -> Vec<(&'static str, u32)> {
        vec![("UNITS", self.units), ("SPLIT", self.split), ("HELD", self.held.into())]
    }

    fn workgroup(self) -> [u32; 3] {
        [self.units, 1, self.split]
    }

    /// Returns the bytes of workgroup memory: h, and the partial sums of all gates.
    fn workgroup_storage(self, gate_floats: usize) -> u64 {
        let (units, split) = (u64::from(self.units), u64::from(self.split));
        units * (1 + split * gate_floats as u64) * size_of::<f32>() as u64
    }

    /// Returns the most steps of a dispatch, as some drivers end its loops after [`MAX_TURNS`] iterations.
    pub(crate) fn max_steps(self, hidden_size: usize) -> usize {
        let product = if self.held { 0 } else { hidden_size.div_ceil(BLOCK * self.split as usize) };
        // The step's own iteration, and those of the sum over the parts.
        let turns_of_step = 1 + product + self.split as usize;
        (MAX_TURNS / turns_of_step).max(1)
    }

    /// Returns the grid: one workgroup per row and direction, with the rows in lines.
    pub(crate) fn groups(self, batch: usize, directions: usize) -> [u32; 3] {
        [batch.min(ROWS_OF_LINE) as u32, batch.div_ceil(ROWS_OF_LINE) as u32, directions as u32]
    }
}

/// Writes the tile for people.
impl fmt::Display for SequenceTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weights = if self.held { "held in registers" } else { "read each step" };
        let split = if self.split > 1 { format!(", sum split {}-fold", self.split) } else { String::new() };
        write!(f, "{} units x 1 row{split}, weights {weights}", self.units)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::layer::LstmConfig;
    use crate::plan::tests::limits;

    #[test]
    fn every_tile_of_the_table_is_chosen_by_some_device_and_no_other() {
        let mut chosen = HashSet::new();
        for (hidden, n) in (1..=1024).flat_map(|hidden| [256, 384, 512, 1000, 1024, 2048].map(|n| (hidden, n))) {
            let workgroup_size = [n, n, 64];
            for (workgroup_storage, software) in [(16_384, false), (32_768, false), (16_384, true)] {
                let workgroup_invocations = n;
                let limits =
                    DeviceLimits { workgroup_invocations, workgroup_size, workgroup_storage, software, ..limits() };
                chosen.extend(tile(&LstmConfig::new(1, hidden).0, &limits));
            }
        }
        assert_eq!(chosen, tiles().collect());
    }
}
