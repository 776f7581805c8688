//! Which strategy a forward takes, and why: the one place that chooses.

use std::fmt;

use crate::Result;
use crate::call::Task;
use crate::config::RecurrentConfig;
use crate::plan::limits::DeviceLimits;
use crate::plan::sequence::{self, SequenceTile};
use crate::plan::step::{self, StepTile};
use crate::strategy::Strategy;

/// How the recurrence is dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Recurrence {
    /// A dispatch a time step.
    Steps(StepTile),
    /// A dispatch a chunk of them.
    Sequence(SequenceTile),
}

/// A recurrence, and why it was chosen, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) recurrence: Recurrence,
    pub(crate) why: &'static str,
}

/// The recurrent weights, in bytes, that a workgroup of the sequence kernel may read anew in every step: more, and the step
/// kernel is through sooner, as all of the GPU reads for it, although it has to start.
const STREAMED_BYTES: usize = 256 << 10;
/// And only for so few rows and directions, as each of them reads all weights.
const STREAMED_ROWS: usize = 16;

/// The strategy that the task asks for, or the best one by what is known beforehand. It depends on sizes and on the rows of the
/// states, never on T: were it to depend on T, results would depend on how a sequence is cut.
pub(crate) fn choose(config: &RecurrentConfig, task: &Task, limits: &DeviceLimits) -> Result<Choice> {
    let rows = task.state_arrays.tile_batch;
    let step = step::tile(rows, limits.software);
    let steps = |why| Choice { recurrence: Recurrence::Steps(step), why };
    match (task.strategy, sequence::tile(config, limits)) {
        (Strategy::Step, _) => Ok(steps("as asked for")),
        (Strategy::Sequence, sequence) => {
            Ok(Choice { recurrence: Recurrence::Sequence(sequence?), why: "as asked for" })
        }
        (Strategy::Auto, Ok(tile)) => Ok(match sequence_pays(config, tile, rows, limits.software) {
            Some(why) => Choice { recurrence: Recurrence::Sequence(tile), why },
            None => steps(step.why()),
        }),
        (Strategy::Auto, Err(_)) => Ok(steps(step.why())),
    }
}

/// Why a workgroup a row is faster than a dispatch a step, if it is.
fn sequence_pays(config: &RecurrentConfig, tile: SequenceTile, rows: usize, software: bool) -> Option<&'static str> {
    if tile.held {
        return Some("the weights of a row's units fit into the registers of a workgroup");
    }
    let bytes = config.gate_rows() * config.hidden_size * size_of::<f32>();
    let few = rows.saturating_mul(config.directions()) <= STREAMED_ROWS;
    (bytes <= STREAMED_BYTES && few && !software)
        .then_some("a workgroup reads its weights sooner than a dispatch starts")
}

impl Recurrence {
    /// How many blocks of step parameters a chunk of so many steps takes.
    pub(crate) fn step_blocks(self, chunk_steps: usize) -> usize {
        match self {
            Self::Steps(_) => chunk_steps,
            Self::Sequence(_) => 0,
        }
    }

    /// The strategy by its public name.
    pub(crate) fn strategy(self) -> Strategy {
        match self {
            Self::Steps(_) => Strategy::Step,
            Self::Sequence(_) => Strategy::Sequence,
        }
    }
}

/// For people.
impl fmt::Display for Recurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(tile) => tile.fmt(f),
            Self::Sequence(tile) => tile.fmt(f),
        }
    }
}
