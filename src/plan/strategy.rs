//! The choice of a forward's strategy, and the reason for it: the only place that chooses.

use std::fmt;

use crate::call::Task;
use crate::config::RecurrentConfig;
use crate::error::Result;
use crate::plan::input_product::{self, InputProductTile};
use crate::plan::kernel::{Constants, Kernel, Role};
use crate::plan::limits::DeviceLimits;
use crate::plan::sequence::{self, SequenceTile};
use crate::plan::step::{self, StepTile};
use crate::plan::wavefront;
use crate::strategy::Strategy;

/// The way in which the recurrence is dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Recurrence {
    /// One dispatch per time step.
    Steps(StepTile),
    /// One dispatch per chunk of time steps.
    Sequence(SequenceTile),
    /// One dispatch per time step of several layers, each at its own chunk.
    Wavefront(StepTile),
}

/// The kernels of a forward, and the reason for the choice of the recurrence, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) input_product: InputProductTile,
    pub(crate) recurrence: Recurrence,
    pub(crate) why: &'static str,
}

/// The most bytes of recurrent weights that a workgroup of the sequence kernel may read in every step: with more, the
/// step kernel finishes sooner, as the whole GPU reads for it, although it has to start.
const STREAMED_BYTES: usize = 256 << 10;
/// The most rows and directions for that, as each of them reads all weights.
const STREAMED_ROWS: usize = 16;
/// The most rows on a software adapter, which runs them in turn, while the step kernel shares what it loads among them.
const SOFTWARE_ROWS: usize = 2;

/// The operations of a step below which it takes less time than its dispatch takes to start, on small and large GPUs
/// alike.
const WAVEFRONT_FLOPS: u64 = 16_000_000;
/// The most bytes of the recurrent weights of all layers, which a wave reads in every step, so that they stay in a
/// GPU's cache.
const RESIDENT_BYTES: usize = 8 << 20;
/// The number of steps below which the ends of the wave outweigh its middle.
const WAVEFRONT_STEPS: usize = 16;

/// Chooses the strategy that the task requests, or the best one by what is known beforehand. The kernel and its tile
/// depend on the sizes and on the rows of the states, never on T: otherwise results would depend on how a sequence is
/// cut.
pub(crate) fn choose(config: &RecurrentConfig, task: &Task, limits: &DeviceLimits) -> Result<Choice> {
    let rows = task.state_arrays.tile_batch;
    let (step, of_step) = step::tile(config, rows, limits);
    let asked = |strategy, why| match strategy {
        Strategy::Auto | Strategy::Step => Ok((Recurrence::Steps(step), why)),
        Strategy::Sequence => Ok((Recurrence::Sequence(sequence::tile(config, limits)?), why)),
        Strategy::Wavefront => wavefront::check_model(config, limits).map(|()| (Recurrence::Wavefront(step), why)),
    };
    let best = || {
        let sequence = sequence::tile(config, limits).ok().and_then(|tile| {
            let why = sequence_pays(config, tile, rows, limits.software)?;
            Some((Recurrence::Sequence(tile), why))
        });
        let wave = || {
            wavefront::check_model(config, limits).ok()?;
            Some((Recurrence::Wavefront(step), wavefront_pays(config, task, limits.software)?))
        };
        sequence.or_else(wave).unwrap_or((Recurrence::Steps(step), of_step))
    };
    let (recurrence, why) = match (task.strategy, task.tuned) {
        (Strategy::Auto, None) => best(),
        (Strategy::Auto, Some(tuned)) => {
            asked(tuned, "the fastest when timed on this device").unwrap_or_else(|_| best())
        }
        (strategy, _) => asked(strategy, "as requested")?,
    };
    Ok(Choice { input_product: input_product::tile(config, rows, limits), recurrence, why })
}

impl Choice {
    /// Returns the constants that the kernel of a role is specialized for.
    pub(crate) fn constants(&self, role: Role, hands_on: bool, dropout: bool) -> Constants {
        let with =
            |name, flag: bool, of_tile: Constants| std::iter::once((name, u32::from(flag))).chain(of_tile).collect();
        match (role, self.recurrence) {
            (Role::InputProduct, _) => with("DROPOUT", dropout, self.input_product.overrides()),
            (Role::Recurrence, recurrence) => with("HANDS_ON", hands_on, recurrence.overrides()),
            (Role::Projection | Role::Backward(_) | Role::Optim(_), _) => Vec::new(),
        }
    }
}

/// Returns the reason that one workgroup per row is faster than one dispatch per step, if it is.
fn sequence_pays(config: &RecurrentConfig, tile: SequenceTile, rows: usize, software: bool) -> Option<&'static str> {
    let rows = rows.saturating_mul(config.directions());
    if tile.held && (!software || rows <= SOFTWARE_ROWS) {
        return Some("all weights fit into the registers of a workgroup");
    }
    let bytes = config.gate_rows() * config.hidden_size * size_of::<f32>();
    let soon = bytes <= STREAMED_BYTES && rows <= STREAMED_ROWS && !software;
    soon.then_some("a workgroup reads its weights sooner than a dispatch starts")
}

/// Returns the reason that overlapping layers is faster, if it is. All strategies that dispatch steps give the same
/// bits, so this may depend on T.
fn wavefront_pays(config: &RecurrentConfig, task: &Task, software: bool) -> Option<&'static str> {
    let weights = config.gate_rows() * config.recurrent_size();
    let flops = (2 * weights as u64).saturating_mul(task.extents.batch as u64);
    let resident = config.num_layers * weights * size_of::<f32>() <= RESIDENT_BYTES;
    let pays = task.extents.time_steps >= WAVEFRONT_STEPS && flops <= WAVEFRONT_FLOPS && resident && !software;
    pays.then_some("a step of one layer leaves a GPU idle, and steps of several layers take no longer")
}

impl Recurrence {
    /// Returns true if layers overlap.
    pub(crate) fn is_wavefront(self) -> bool {
        matches!(self, Self::Wavefront(_))
    }

    pub(crate) fn kernel(self) -> Kernel {
        match self {
            Self::Steps(tile) | Self::Wavefront(tile) => tile.kernel(),
            Self::Sequence(_) => Kernel::Sequence,
        }
    }

    fn overrides(self) -> Constants {
        match self {
            Self::Steps(tile) | Self::Wavefront(tile) => tile.overrides(),
            Self::Sequence(tile) => tile.overrides(),
        }
    }

    /// Returns the strategy by its public name.
    pub(crate) fn strategy(self) -> Strategy {
        match self {
            Self::Steps(_) => Strategy::Step,
            Self::Sequence(_) => Strategy::Sequence,
            Self::Wavefront(_) => Strategy::Wavefront,
        }
    }
}

/// Writes the recurrence for people.
impl fmt::Display for Recurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(tile) | Self::Wavefront(tile) => tile.fmt(f),
            Self::Sequence(tile) => tile.fmt(f),
        }
    }
}
