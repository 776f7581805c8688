//! The tiles and grids of the step kernels, shaders/step/{one_row,few_rows,many_rows}.wgsl.

use std::fmt;

use crate::config::RecurrentConfig;
use crate::error::Result;
use crate::plan::count::Count;
use crate::plan::few_rows::{FewRows, STAGED};
use crate::plan::kernel::Kernel;
use crate::plan::limits::DeviceLimits;

/// The kernel and the shape of its workgroup: the shader's override constants of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StepTile {
    /// One row.
    OneRow { units: u32, split: u32 },
    /// A few rows: an invocation has four of one unit.
    FewRows(FewRows),
    /// Many rows: an invocation has eight of two units.
    ManyRows { units: u32, row_tiles: u32 },
}

/// How many invocations share a sum of the kernel of many rows; `SPLIT` of the shader.
pub(crate) const MANY_ROWS_SPLIT: u32 = 4;

/// For errors.
const WHAT: &str = "the step kernel";

/// Fewer workgroups than this leave a large GPU idle, whose compute units are about as many.
const GROUPS: usize = 128;

/// Every tile that [`tile`] chooses from. Those of a GPU: the fewer rows there are to spread over the invocations, the
/// more of them share a sum, so that few rows keep the whole GPU busy as well; the more rows and units there are, the
/// more of them share what an invocation loads. Those of a software adapter, which runs the invocations of a workgroup
/// in turn, a vector of them at a time, and gathers what each of them loads: it gains nothing from sharing a sum, and
/// everything from loading little.
pub(crate) const TILES: [StepTile; 8] =
    [ONE_ROW, FOUR_ROWS, EIGHT_ROWS, SEVERAL_ROWS, MANY_ROWS, SOFTWARE_ONE_ROW, SOFTWARE_FEW_ROWS, SOFTWARE_MANY_ROWS];

const ONE_ROW: StepTile = StepTile::OneRow { units: 8, split: 32 };
const FOUR_ROWS: StepTile = StepTile::FewRows(FewRows { units: 16, row_tiles: 1, split: 16 });
const EIGHT_ROWS: StepTile = StepTile::FewRows(FewRows { units: 16, row_tiles: 2, split: 8 });
/// Sums of no more rows and units than any device has room for.
const SEVERAL_ROWS: StepTile = StepTile::FewRows(FewRows { units: 8, row_tiles: 4, split: 8 });
const MANY_ROWS: StepTile = StepTile::ManyRows { units: 8, row_tiles: 4 };
const SOFTWARE_ONE_ROW: StepTile = StepTile::OneRow { units: 32, split: 1 };
const SOFTWARE_FEW_ROWS: StepTile = StepTile::FewRows(FewRows { units: 32, row_tiles: 1, split: 4 });
const SOFTWARE_MANY_ROWS: StepTile = StepTile::ManyRows { units: 16, row_tiles: 2 };

/// The tile for a batch, and why: the best, or where a workgroup may not be so large a smaller one.
pub(crate) fn tile(config: &RecurrentConfig, batch: usize, limits: &DeviceLimits) -> (StepTile, &'static str) {
    let best = best_tile(config, batch, limits);
    match best.0.check_workgroup(config, limits) {
        Ok(()) => best,
        Err(_) => (SEVERAL_ROWS, "several rows, in workgroups as large as the device allows"),
    }
}

/// The best tile for a batch, and why.
fn best_tile(config: &RecurrentConfig, batch: usize, limits: &DeviceLimits) -> (StepTile, &'static str) {
    if limits.software {
        const SHARE: &str = "several rows, on a software adapter, which share what is read";
        return match batch {
            0..=1 => (SOFTWARE_ONE_ROW, "one row, on a software adapter, which gains nothing from sharing a sum"),
            2..=8 => (SOFTWARE_FEW_ROWS, SHARE),
            _ => (SOFTWARE_MANY_ROWS, SHARE),
        };
    }
    const FEW: &str = "few rows, so that sums are shared to keep a GPU busy";
    let groups = MANY_ROWS.groups(config.hidden_size, batch, config.directions());
    match batch {
        0..=1 => (ONE_ROW, "one row, so that only units and terms of a sum are parallel"),
        2..=4 => (FOUR_ROWS, FEW),
        5..=8 => (EIGHT_ROWS, FEW),
        17.. if groups.iter().fold(1, |all: usize, &n| all.saturating_mul(n as usize)) >= GROUPS => {
            (MANY_ROWS, "many rows and units, which share what is read of both")
        }
        _ => (SEVERAL_ROWS, "several rows, which share each weight that is read"),
    }
}

impl StepTile {
    pub(crate) fn kernel(self) -> Kernel {
        match self {
            Self::OneRow { .. } => Kernel::StepOneRow,
            Self::FewRows(_) => Kernel::StepFewRows,
            Self::ManyRows { .. } => Kernel::StepManyRows,
        }
    }

    /// The shader's override constants.
    pub(crate) fn overrides(self) -> Vec<(&'static str, u32)> {
        match self {
            Self::OneRow { units, split } => vec![("UNITS", units), ("SPLIT", split)],
            Self::FewRows(tile) => tile.overrides(),
            Self::ManyRows { units, row_tiles } => vec![("UNITS", units), ("ROW_TILES", row_tiles)],
        }
    }

    /// Hidden units and batch rows of a workgroup.
    fn size(self) -> (usize, usize) {
        let (units, rows) = match self {
            Self::OneRow { units, .. } => (units, 1),
            Self::FewRows(tile) => (tile.units, tile.rows()),
            Self::ManyRows { units, row_tiles } => (2 * units, 8 * row_tiles),
        };
        (units as usize, rows as usize)
    }

    fn workgroup(self) -> [u32; 3] {
        match self {
            Self::OneRow { units, split } => [units, 1, split],
            Self::FewRows(tile) => tile.workgroup(),
            Self::ManyRows { units, row_tiles } => [units, row_tiles, MANY_ROWS_SPLIT],
        }
    }

    pub(crate) fn groups(self, hidden_size: usize, batch: usize, directions: usize) -> [u32; 3] {
        let (units, rows) = self.size();
        [hidden_size.div_ceil(units) as u32, batch.div_ceil(rows) as u32, directions as u32]
    }

    /// Bytes of workgroup memory: the staged h, and sums of all gates, of four rows at a time in the kernel of many
    /// rows.
    pub(crate) fn workgroup_storage(self, gate_floats: usize) -> u64 {
        let invocations = self.workgroup().iter().product::<u32>() as usize;
        let floats = match self {
            Self::OneRow { .. } => invocations * gate_floats,
            Self::FewRows(tile) => tile.workgroup_floats(gate_floats),
            Self::ManyRows { .. } => 4 * STAGED + 4 * invocations * gate_floats,
        };
        (floats * size_of::<f32>()) as u64
    }

    pub(crate) fn check(self, config: &RecurrentConfig, batch: usize, limits: &DeviceLimits) -> Result<()> {
        self.check_workgroup(config, limits)?;
        let (units, rows) = self.size();
        limits.groups(WHAT, config.hidden_size.div_ceil(units) as u64)?;
        limits.groups(WHAT, batch.div_ceil(rows) as u64)
    }

    fn check_workgroup(self, config: &RecurrentConfig, limits: &DeviceLimits) -> Result<()> {
        limits.workgroup(WHAT, self.workgroup(), self.workgroup_storage(config.cell.workgroup_floats()))
    }
}

/// For people.
impl fmt::Display for StepTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (units, rows) = self.size();
        let split = match *self {
            Self::OneRow { split, .. } | Self::FewRows(FewRows { split, .. }) => split,
            Self::ManyRows { .. } => MANY_ROWS_SPLIT,
        };
        write!(f, "{units} units x {}", Count(rows, "row"))?;
        if split > 1 { write!(f, ", sum split {split}-fold") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::layer::LstmConfig;
    use crate::plan::tests::limits;

    #[test]
    fn every_tile_of_the_table_is_chosen_by_some_batch_and_no_other() {
        let mut chosen = HashSet::new();
        for (batch, hidden) in (1..100).flat_map(|batch| [1, 64, 1024, 4096].map(|hidden| (batch, hidden))) {
            for (software, workgroup_storage) in [(false, 16_384), (true, 16_384), (false, 12_288), (true, 12_288)] {
                let limits = DeviceLimits { software, workgroup_storage, ..limits() };
                chosen.insert(tile(&LstmConfig::new(1, hidden).0, batch, &limits).0);
            }
        }
        assert_eq!(chosen, HashSet::from(TILES));
    }
}
