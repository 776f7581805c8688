//! What a GPU will do, decided before any GPU work: pure data, no wgpu type, testable without a device.
//!
//! A plan is a [program](program::Program) with the reasons for it. `forward.rs` writes it, `gpu/` runs it.

mod blocks;
mod chunks;
mod count;
mod explain;
pub(crate) mod few_rows;
mod forward;
pub(crate) mod input_product;
pub(crate) mod kernel;
pub(crate) mod limits;
pub(crate) mod params;
pub(crate) mod program;
pub(crate) mod projection;
pub(crate) mod sequence;
pub(crate) mod shipped;
pub(crate) mod step;
pub(crate) mod strategy;
pub(crate) mod wave;

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

/// The most that a chunk's gx may take. It is written and read once per step, so there is no gain in more than keeps
/// a GPU busy; long sequences would otherwise take memory in proportion to T.
pub(crate) const GX_BUDGET: u64 = 64 << 20;

/// The most steps of a chunk: bounds the table of step parameters, a block of up to 256 bytes each.
const MAX_CHUNK_STEPS: usize = 4096;

/// Units whose weights lie side by side; `BLOCK` of shaders/weights/blocks.wgsl.
pub(crate) const WEIGHT_BLOCK: usize = 8;

const F32: u64 = size_of::<f32>() as u64;

/// What a forward of one shape does on a GPU: its dispatches, submissions and device memory.
///
/// [`Placed::plan`](crate::Placed::plan) returns it. Its [`Display`](std::fmt::Display) is for people: one line, and with `{:#}` what
/// was chosen and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub(crate) config: RecurrentConfig,
    pub(crate) task: Task,
    pub(crate) choice: Choice,
    pub(crate) program: Program,
    schedule: Schedule,
    submission_work: u64,
}

/// Where a state comes from before the first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Zeros,
    /// It is where the first step reads it.
    InPlace,
    /// The caller's array of the initial state.
    Array,
    /// The same, in the buffer that it is to be copied to.
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
            // Overlapping layers takes more memory. What was not asked for must not be why a forward cannot run.
            Err(Error::Limit { .. }) if task.strategy == Strategy::Auto && choice.recurrence.is_wave() => {
                let steps = strategy::choose(config, &Task { strategy: Strategy::Step, ..task }, limits)?;
                let why = "layers that overlap take more memory than there may be";
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

    /// What is read back, in the order in which it lies in the readback: the output, the states, and where the states of every
    /// step are wanted the outputs of the layers below the last.
    pub(crate) fn results(&self) -> impl Iterator<Item = u64> + '_ {
        self.program.after.iter().filter(|copy| copy.target == Name::Readback).map(|copy| copy.bytes)
    }

    /// The array that the initial value of a state is put into: h has one of its own, the others are updated in place. Without a
    /// step, the initial state is the last one.
    pub(crate) fn initial_array(&self, state: usize) -> Name {
        if state == 0 && self.dispatch_count() > 0 { Name::H } else { Name::State(state) }
    }

    /// Where the initial value of a state lies in [`initial_array`](Self::initial_array), in bytes: one range, or one per layer
    /// where there is room for the values of every step behind it.
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

    /// The commands that put the initial states, h first, where the first step reads them.
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

    /// The command that brings what a recording says to where kernels read it.
    pub(crate) fn call_copy(&self) -> Command {
        let bytes = self.program.bytes(Name::Call);
        Command::Copy(Copy { source: Name::CallSource, from: 0, target: Name::Call, to: 0, bytes })
    }

    /// Room for a state on its way between two ranges of one buffer.
    pub(crate) fn transit(&self, state: usize) -> Array {
        Array { name: Name::Transit(state), bytes: self.state_bytes(state), owner: Owner::Scratch }
    }

    /// The bytes of one state, of all layers and rows, as a caller gives and takes it.
    pub(crate) fn state_bytes(&self, state: usize) -> u64 {
        self.initial_ranges(state).map(|range| range.end - range.start).sum()
    }

    /// The strategy, which was chosen or asked for; never [`Strategy::Auto`].
    pub fn strategy(&self) -> Strategy {
        self.choice.recurrence.strategy()
    }

    /// The floating-point operations of the matrix products, a multiply-add counted as two.
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

    /// The bytes of device memory that a forward with host input and output takes in addition to the weights.
    pub fn device_bytes(&self) -> u64 {
        self.program.memory()
    }

    /// How many kernel calls a forward records: for each layer one per time step (two with a projection) or one per time chunk, and
    /// where layers overlap one for a step of all of them; besides, for each layer and time chunk one input product (more for inputs
    /// of many thousand features).
    pub fn dispatch_count(&self) -> usize {
        self.program.dispatch_count()
    }

    /// How many submissions a forward makes.
    pub fn submission_count(&self) -> usize {
        self.submission_ends().len()
    }

    /// The ends of the submissions, as counts of dispatches from the start.
    pub(crate) fn submission_ends(&self) -> Vec<usize> {
        self.program.submission_ends(self.submission_work)
    }
}

#[cfg(test)]
mod effects;
#[cfg(test)]
mod tests;
