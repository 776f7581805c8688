//! Plans of the work of a GPU, made before any GPU work: pure data, without wgpu types, testable without a device.
//!
//! A plan is a [program](program::Program) with the reasons for it. `forward.rs` writes it, and `gpu/` runs it.

pub(crate) mod backward;
mod blocks;
mod chunks;
mod count;
mod explain;
pub(crate) mod few_rows;
mod forward;
pub(crate) mod input_product;
pub(crate) mod kernel;
pub(crate) mod limits;
pub(crate) mod matrix;
pub(crate) mod optim;
pub(crate) mod params;
pub(crate) mod program;
pub(crate) mod projection;
pub(crate) mod sequence;
pub(crate) mod shipped;
pub(crate) mod step;
pub(crate) mod strategy;
pub(crate) mod wavefront;

use std::ops::Range;

use crate::call::Task;
use crate::config::RecurrentConfig;
use crate::error::{Error, Result};
use crate::plan::forward::{Forward, product_flops};
use crate::plan::limits::{DeviceLimits, saturating_product};
use crate::plan::params::Schedule;
use crate::plan::program::{Array, Command, Copy, Name, Owner, Program};
use crate::plan::strategy::Choice;
use crate::precision::Precision;
use crate::strategy::Strategy;

/// The largest gx of a chunk, in bytes. It is written and read once per step, so there is no gain in more than keeps a
/// GPU busy; without this limit, long sequences would take memory in proportion to T.
pub(crate) const GX_BUDGET: u64 = 64 << 20;

/// The most steps of a chunk, which bounds the table of step parameters, with a block of up to 256 bytes each.
const MAX_CHUNK_STEPS: usize = 4096;

/// The number of units whose weights are interleaved; `BLOCK` of shaders/weights/blocks.wgsl.
pub(crate) const WEIGHT_BLOCK: usize = 8;

const F32: u64 = size_of::<f32>() as u64;

/// The plan of a forward of one shape on a GPU: its dispatches, submissions and device memory.
///
/// [`Placed::plan`](crate::Placed::plan) returns it. The [`Display`](std::fmt::Display) form is for people: one line,
/// or with `{:#}` the choices and their reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub(crate) config: RecurrentConfig,
    pub(crate) task: Task,
    pub(crate) choice: Choice,
    pub(crate) program: Program,
    schedule: Schedule,
    submission_work: u64,
}

/// The origin of a state before the first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Zeros,
    /// The state is already where the first step reads it.
    InPlace,
    /// The caller's array of the initial state.
    Array,
    /// The caller's array of the initial state, in the buffer that it is to be copied to.
    SameBuffer,
}

impl Plan {
    /// Chooses strategy, tiles and chunks, and checks every limit.
    pub(crate) fn new(
        config: &RecurrentConfig,
        precision: Precision,
        task: Task,
        limits: &DeviceLimits,
    ) -> Result<Self> {
        let choice = strategy::choose(config, &task, limits)?;
        match Self::of_choice(config, precision, task, choice, limits) {
            // Overlapping layers takes more memory. A forward must not fail because of something that was not
            // requested.
            Err(Error::Limit { .. }) if task.strategy == Strategy::Auto && choice.recurrence.is_wavefront() => {
                let steps = strategy::choose(config, &Task { strategy: Strategy::Step, ..task }, limits)?;
                let why = "overlapping layers would take more memory than allowed";
                Self::of_choice(config, precision, task, Choice { why, ..steps }, limits)
            }
            plan => plan,
        }
    }

    fn of_choice(
        config: &RecurrentConfig,
        precision: Precision,
        task: Task,
        choice: Choice,
        limits: &DeviceLimits,
    ) -> Result<Self> {
        let forward = Forward { config, precision, task: &task, choice: &choice };
        let (schedule, program) = forward.write(limits)?;
        let submission_work = limits.submission_work;
        Ok(Self { config: config.clone(), task, choice, program, schedule, submission_work })
    }

    /// Returns the most steps of a chunk.
    fn chunk_steps(&self) -> usize {
        self.schedule.chunk_steps
    }

    /// Returns the array that the initial value of a state is written to: h has its own, the others are updated in
    /// place. If no step runs, the initial state is the last one.
    pub(crate) fn initial_array(&self, state: usize) -> Name {
        if state == 0 && self.dispatch_count() > 0 { Name::H } else { Name::State(state) }
    }

    /// Returns the byte ranges of the initial value of a state in [`initial_array`](Self::initial_array): one range, or
    /// one per layer if the values of every step follow it.
    pub(crate) fn initial_ranges(&self, state: usize) -> impl Iterator<Item = Range<u64>> + '_ {
        let apart = state > 0 && self.task.all_states;
        let ranges = if apart { self.config.num_layers } else { 1 };
        let rows = self.config.layers_and_directions() * self.task.state_arrays.rows;
        let bytes = (rows * self.config.state_size(state)) as u64 * F32 / ranges as u64;
        (0..ranges).map(move |layer| {
            let at = if apart { self.c_offset(layer) as u64 * F32 } else { 0 };
            at..at + bytes
        })
    }

    /// Returns the commands that bring the initial states, h first, to where the first step reads them.
    pub(crate) fn initial_commands(&self, sources: &[Source]) -> Vec<Command> {
        let mut commands = Vec::new();
        for (state, source) in sources.iter().enumerate() {
            let target = self.initial_array(state);
            let mut from = 0;
            for range in self.initial_ranges(state) {
                let bytes = range.end - range.start;
                let copy = |source, from, target, to| Command::Copy(Copy { source, from, target, to, bytes });
                let initial = Name::InitialState(state);
                match source {
                    Source::InPlace => {}
                    Source::Zeros => commands.push(Command::Clear { target, range: range.clone() }),
                    Source::Array => commands.push(copy(initial, from, target, range.start)),
                    Source::SameBuffer => {
                        let transit = Name::Transit(state);
                        commands.extend([copy(initial, from, transit, from), copy(transit, from, target, range.start)]);
                    }
                }
                from += bytes;
            }
        }
        commands
    }

    /// Returns the command that copies the parameters of a recorded call to where kernels read them.
    pub(crate) fn call_copy(&self) -> Command {
        let bytes = self.program.bytes(Name::Call);
        Command::Copy(Copy { source: Name::CallSource, from: 0, target: Name::Call, to: 0, bytes })
    }

    /// Returns the array for a state that is copied between two ranges of one buffer.
    pub(crate) fn transit(&self, state: usize) -> Array {
        Array { name: Name::Transit(state), bytes: self.state_bytes(state), owner: Owner::Scratch }
    }

    /// Returns the bytes of one state, of all layers and rows, in the form that a caller reads and writes.
    pub(crate) fn state_bytes(&self, state: usize) -> u64 {
        self.initial_ranges(state).map(|range| range.end - range.start).sum()
    }

    /// Returns the strategy, chosen or requested; never [`Strategy::Auto`].
    pub fn strategy(&self) -> Strategy {
        self.choice.recurrence.strategy()
    }

    /// Returns the number of floating-point operations of the matrix products, counting a multiply-add as two.
    pub fn flops(&self) -> u64 {
        let (config, rows) = (&self.config, self.task.extents.rows());
        let of_layer = |layer| {
            let input = product_flops(config, rows, config.layer_input_size(layer));
            let projection = [2, rows, config.directions(), config.hidden_size, config.proj_size];
            let projection = saturating_product(&projection.map(|n| n as u64));
            let recurrent = product_flops(config, rows, config.recurrent_size());
            input.saturating_add(recurrent).saturating_add(projection)
        };
        (0..config.num_layers).map(of_layer).fold(0, u64::saturating_add)
    }

    /// Returns the bytes of device memory that a forward with host input and output takes in addition to the weights.
    pub fn device_bytes(&self) -> u64 {
        self.program.memory()
    }

    /// Returns the number of dispatches that a forward records. Each layer has one per time step (two with a
    /// projection or a second product) or one per time chunk; if layers overlap, one dispatch runs a step of all of
    /// them. In addition, there is one input product per layer and time chunk (more for inputs of many thousand
    /// features).
    pub fn dispatch_count(&self) -> usize {
        self.program.dispatch_count()
    }

    /// Returns the number of submissions of a forward.
    pub fn submission_count(&self) -> usize {
        self.submission_ends().len()
    }

    /// Returns the ends of the submissions, as counts of dispatches from the start.
    pub(crate) fn submission_ends(&self) -> Vec<usize> {
        self.program.submission_ends(self.submission_work)
    }
}

#[cfg(test)]
mod effects;
#[cfg(test)]
mod tests;
