//! Writes the program of a forward: of a whole sequence, of a push of streams, or of a cell's step.
//!
//! ```text
//! for each layer
//!   for each chunk of time steps          so that gx stays within its budget
//!     input product (for each slice)      gx of the whole chunk, both directions
//!     step, step, …                       one dispatch per product of a time step, both directions; with a projection,
//!                                         one more
//!     or sequence                         one dispatch for all of them
//! ```
//!
//! or, if layers overlap,
//!
//! ```text
//! for each wave
//!   input product                         for each layer that is at work, its chunk
//!   step, step, …                         one dispatch per time step, all these layers
//! ```

use std::ops::Range;

use crate::call::{Results, Task};
use crate::config::RecurrentConfig;
use crate::error::Result;
use crate::plan::kernel::{Access, Kernel, PipelineKey, Role, Sources, WeightArray};
use crate::plan::limits::{WORK_PER_BYTE, WORK_PER_DISPATCH, saturating_product};
use crate::plan::params::Schedule;
use crate::plan::program::{self, Array, Binding, Copy, Dispatch, Name, Owner, Program};
use crate::plan::strategy::{Choice, Recurrence};
use crate::plan::{F32, input_product, projection, wavefront};
use crate::precision::Precision;

/// The inputs that a program is written from.
#[derive(Clone, Copy)]
pub(super) struct Forward<'a> {
    pub(super) config: &'a RecurrentConfig,
    pub(super) precision: Precision,
    pub(super) task: &'a Task,
    pub(super) choice: &'a Choice,
}

impl Forward<'_> {
    pub(super) fn is_wavefront(self) -> bool {
        self.choice.recurrence.is_wavefront()
    }

    /// Returns the bytes of gx for one time step; if layers overlap, for all of them.
    pub(super) fn gx_of_step(self) -> u64 {
        let layers = if self.is_wavefront() { self.config.num_layers } else { 1 };
        let factors = [layers, self.task.extents.batch, self.config.directions(), self.config.gate_rows()];
        bytes_of(&factors)
    }

    /// Returns the table of arrays, except for those whose size follows from the chunks: gx and the parameters.
    pub(super) fn arrays(self) -> Vec<Array> {
        let Self { config, task, .. } = self;
        let (layers, directions, hidden) = (config.num_layers, config.directions(), config.hidden_size);
        let (t, b, rows) = (task.extents.time_steps, task.extents.batch, task.state_arrays.rows);
        let mut arrays = Vec::new();
        let mut add = |name, bytes, owner| arrays.push(Array { name, bytes, owner });
        add(Name::Input, bytes_of(&[t, b, config.input_size]), Owner::Caller);
        let output = self.output_bytes();
        // Kernels write it in either case.
        let is_wanted = task.results != Results::StatesOnDevice;
        add(Name::Output, output, if is_wanted { Owner::Caller } else { Owner::Scratch });
        let is_recorded_training = task.results == Results::RecordedTraining;
        for state in 0..config.cell.states().len() {
            let is_last = state == 0 || !is_recorded_training;
            add(Name::State(state), self.state_bytes(state), if is_last { Owner::Caller } else { Owner::Scratch });
        }
        add(Name::Call, bytes_of(&[task.word_count(config)]), Owner::Scratch);
        add(Name::H, bytes_of(&[2, layers, directions, rows, config.recurrent_size()]), Owner::Scratch);
        if self.is_wavefront() {
            let all = saturating_product(&[layers as u64, padded_output(output)]);
            add(Name::LayerOutput(0), all, Owner::Scratch);
        } else {
            for layer in 0..self.layer_outputs() {
                add(Name::LayerOutput(layer), output, Owner::Scratch);
            }
        }
        if config.is_projected() {
            add(Name::Raw, bytes_of(&[b, directions, hidden]), Owner::Scratch);
        }
        if self.is_gated() {
            add(Name::Gated, bytes_of(&[2, b, directions, hidden]), Owner::Scratch);
        }
        let results = self.results().map(|(_, range)| range.end - range.start).fold(0, u64::saturating_add);
        if results > 0 {
            add(Name::Readback, results, Owner::Scratch);
        }
        arrays
    }

    /// Returns the number of buffers that the outputs of the layers below the last share in turn; if all states are
    /// wanted, each layer has its own.
    fn layer_outputs(self) -> usize {
        let below = self.config.num_layers - 1;
        if self.task.all_states { below } else { below.min(2) }
    }

    /// Returns the bytes of a state: h is that after the last step; if all states are wanted, the others are those
    /// before the first step and after every one.
    fn state_bytes(self, state: usize) -> u64 {
        let Self { config, task, .. } = self;
        let steps = if state > 0 && task.all_states { task.extents.time_steps.saturating_add(1) } else { 1 };
        bytes_of(&[config.layers_and_directions(), steps, task.state_arrays.rows, config.state_size(state)])
    }

    /// Returns the bytes of a layer's output.
    fn output_bytes(self) -> u64 {
        bytes_of(&[self.task.extents.time_steps, self.task.extents.batch, self.config.output_size()])
    }

    /// Returns the array of a layer's output, and its first byte there.
    fn output_of(self, layer: usize) -> (Name, u64) {
        if self.is_wavefront() {
            let output = self.output_bytes();
            return (Name::LayerOutput(0), (layer as u64).saturating_mul(padded_output(output)));
        }
        if layer + 1 == self.config.num_layers {
            return (Name::Output, 0);
        }
        (Name::LayerOutput(layer % self.layer_outputs()), 0)
    }

    /// Returns the ranges that are read back, one after another: the output, the states and, if the states of every
    /// step are wanted, the outputs of the layers below the last.
    pub(super) fn results(self) -> impl Iterator<Item = (Name, Range<u64>)> {
        let Self { config, task, .. } = self;
        let output = self.output_bytes();
        let of_layer = move |layer: usize| {
            let (name, at) = self.output_of(layer);
            (name, at..at.saturating_add(output))
        };
        let (with_output, with_states) = match task.results {
            Results::OnDevice | Results::StatesOnDevice | Results::RecordedTraining => (false, false),
            Results::Output => (true, false),
            Results::States => (false, true),
            Results::OutputAndStates | Results::Training => (true, true),
        };
        let states = if with_states { config.cell.states().len() } else { 0 };
        let whole = move |state| (Name::State(state), 0..self.state_bytes(state));
        let output = with_output.then(|| of_layer(config.num_layers - 1));
        let is_training = task.results == Results::Training;
        let (whole_states, last_of) = if is_training { (1, 1..states) } else { (states, 0..0) };
        let lasts = last_of.flat_map(move |state| (0..config.num_layers).map(move |layer| self.last(state, layer)));
        let below = if states > 0 && task.all_states && !is_training { config.num_layers - 1 } else { 0 };
        output.into_iter().chain((0..whole_states).map(whole)).chain(lasts).chain((0..below).map(of_layer))
    }

    /// Returns the range of a state after the last step, in the array of those of all steps.
    fn last(self, state: usize, layer: usize) -> (Name, Range<u64>) {
        let of_layer = self.state_bytes(state) / self.config.num_layers as u64;
        let of_step = of_layer / (self.task.extents.time_steps as u64).saturating_add(1);
        let end = of_layer.saturating_mul(layer as u64 + 1);
        (Name::State(state), end - of_step..end)
    }

    /// Returns the copies after the last dispatch: results to where the host reads them and, for a caller's buffers,
    /// the output out of those of all layers.
    pub(super) fn after(self) -> Vec<Copy> {
        if self.task.results == Results::OnDevice {
            let (source, from) = self.output_of(self.config.num_layers - 1);
            let bytes = self.output_bytes();
            let copy = Copy { source, from, target: Name::Output, to: 0, bytes };
            return if source == Name::Output { Vec::new() } else { vec![copy] };
        }
        if self.task.results == Results::RecordedTraining {
            let states = 1..self.config.cell.states().len();
            return states.flat_map(|state| self.copies_of_last(state)).collect();
        }
        // Empty for `StatesOnDevice`.
        program::read_back(self.results())
    }

    /// Returns the copies of a state after the last step to the caller's array.
    fn copies_of_last(self, state: usize) -> impl Iterator<Item = Copy> {
        (0..self.config.num_layers).map(move |layer| {
            let (source, range) = self.last(state, layer);
            let bytes = range.end - range.start;
            Copy { source, from: range.start, target: Name::LastState(state), to: layer as u64 * bytes, bytes }
        })
    }

    /// Returns the kernels with the arrays that they bind: for each layer the input product and the kernels of a step.
    /// In a wave, one binding of a step serves all layers.
    pub(super) fn bindings(self) -> Vec<Binding> {
        let layers = 0..self.config.num_layers;
        layers.flat_map(|layer| (0..self.bindings_of_layer()).map(move |n| self.binding(layer, n))).collect()
    }

    /// Returns the number of bindings per layer: the input product, the products of a step, the projection.
    fn bindings_of_layer(self) -> usize {
        1 + self.kernels_of_turn().count()
    }

    /// Returns the kernels of an iteration of the recurrence, in order, each with the number of its product.
    fn kernels_of_turn(self) -> impl Iterator<Item = (Kernel, usize)> {
        let projection = self.config.is_projected().then_some((Kernel::Projection, 0));
        let kernel = self.choice.recurrence.kernel();
        (0..self.config.cell.products().len()).map(move |product| (kernel, product)).chain(projection)
    }

    /// Returns binding number `n` of a layer.
    fn binding(self, layer: usize, n: usize) -> Binding {
        use Access::{Read, ReadWrite};
        let Self { config, task, choice, .. } = self;
        let projected = config.is_projected();
        let x = if layer == 0 { Name::Input } else { self.output_of(layer - 1).0 };
        let y = self.output_of(layer).0;
        let of_layer = |array| Name::Weights { array, layer };
        let of_step = |array| if self.is_wavefront() { Name::AllWeights(array) } else { of_layer(array) };
        let (kernel, product) = match n.checked_sub(1) {
            None => (choice.input_product.kernel(), 0),
            Some(n) => self.kernels_of_turn().nth(n).unwrap_or((Kernel::Projection, 0)),
        };
        let storage = match kernel.role() {
            Role::InputProduct => vec![
                (x, Read),
                (of_layer(WeightArray::Ih), Read),
                (of_layer(WeightArray::BiasIh), Read),
                (Name::Gx, ReadWrite),
            ],
            Role::Recurrence => {
                let h_out = if projected { Name::Raw } else { Name::State(0) };
                let mut storage = vec![
                    (Name::Gx, Read),
                    (of_step(WeightArray::Hh(product)), Read),
                    (of_step(WeightArray::BiasHh(product)), Read),
                    (Name::H, ReadWrite),
                    (y, ReadWrite),
                    (h_out, ReadWrite),
                ];
                let carried = (1..config.cell.states().len()).map(Name::State);
                let gated = self.is_gated().then_some(Name::Gated);
                storage.extend(carried.chain(gated).map(|name| (name, ReadWrite)));
                storage
            }
            Role::Backward(_) | Role::Optim(_) => Vec::new(), // which plan/backward/ and plan/optim/ write
            Role::Projection => vec![
                (Name::Raw, Read),
                (of_layer(WeightArray::Hr), Read),
                (Name::H, ReadWrite),
                (y, ReadWrite),
                (Name::State(0), ReadWrite),
            ],
        };
        let wavefront = kernel.role() == Role::Recurrence && self.is_wavefront();
        // The other kernels do not contain the cell.
        let general = kernel.role() == Role::Recurrence && !config.form.is_plain();
        let sources = Sources { kernel, cell: config.cell, product, precision: self.precision, wavefront, general };
        // Another kernel of the same step follows.
        let hands_on = projected || product + 1 < config.cell.products().len();
        let mut constants = if general { config.form.constants(config.cell) } else { Vec::new() };
        constants.extend(choice.constants(kernel.role(), hands_on, task.dropout));
        Binding { pipeline: PipelineKey { sources, constants }, storage }
    }

    /// Returns true if a step has a second product, whose operand the first one leaves.
    fn is_gated(self) -> bool {
        self.config.cell.products().len() > 1
    }

    /// Writes all dispatches, in order.
    pub(super) fn dispatch(self, schedule: &Schedule, program: &mut Program) -> Result<()> {
        let (layers, chunks) = (self.config.num_layers, schedule.chunks());
        if self.is_wavefront() {
            for (number, at_work) in wavefront::waves(layers, chunks).enumerate() {
                for layer in at_work.clone() {
                    self.input_products(schedule, layer, number - layer, program)?;
                }
                // The topmost layer is at the earliest chunk, and therefore has as many steps as any other.
                let steps = schedule.steps_in(number + 1 - at_work.end);
                program.repeat(steps, self.steps_of_wave(schedule, number, at_work.len()))?;
            }
            return Ok(());
        }
        for (layer, chunk) in (0..layers).flat_map(|layer| (0..chunks).map(move |chunk| (layer, chunk))) {
            self.input_products(schedule, layer, chunk, program)?;
            let turns = match self.choice.recurrence {
                Recurrence::Steps(_) | Recurrence::Wavefront(_) => schedule.steps_in(chunk),
                Recurrence::Sequence(_) => 1,
            };
            program.repeat(turns, self.turn(schedule, layer, chunk))?;
        }
        Ok(())
    }

    /// Writes the input product of a chunk, slice by slice.
    fn input_products(self, schedule: &Schedule, layer: usize, chunk: usize, program: &mut Program) -> Result<()> {
        let config = self.config;
        let (features, rows) = (config.layer_input_size(layer), schedule.steps_in(chunk) * self.task.extents.batch);
        program.repeat(
            1,
            (0..input_product::slices(features)).map(|slice| Dispatch {
                binding: layer * self.bindings_of_layer(),
                chunk_offset: schedule.params.chunk_offset(layer, chunk, slice),
                step_offset: 0,
                groups: self.choice.input_product.groups(rows, config.hidden_size, config.directions()),
                work: product_work(config, rows, input_product::slice(features, slice).len()),
            }),
        )
    }

    /// Returns the dispatches of an iteration of the recurrence: one step, or a whole chunk.
    fn turn(self, schedule: &Schedule, layer: usize, chunk: usize) -> impl Iterator<Item = Dispatch> {
        let (config, batch, directions) = (self.config, self.task.extents.batch, self.config.directions());
        let chunk_offset = schedule.params.chunk_offset(layer, chunk, 0);
        // A sequence has no step blocks.
        let (step_offset, steps) = match self.choice.recurrence {
            Recurrence::Steps(_) | Recurrence::Wavefront(_) => (schedule.params.step_offset(0), 1),
            Recurrence::Sequence(_) => (0, schedule.steps_in(chunk)),
        };
        // A projection has fewer weights than one gate; it is counted like the step, to be safe.
        let work = self.step_work().saturating_mul(steps as u64);
        let first = layer * self.bindings_of_layer() + 1;
        self.kernels_of_turn().enumerate().map(move |(n, (kernel, _))| {
            let groups = match (kernel, self.choice.recurrence) {
                (Kernel::Projection, _) => projection::groups(config.recurrent_size(), batch, directions),
                (_, Recurrence::Steps(tile) | Recurrence::Wavefront(tile)) => {
                    tile.groups(config.hidden_size, batch, directions)
                }
                (_, Recurrence::Sequence(tile)) => tile.groups(batch, directions),
            };
            Dispatch { binding: first + n, chunk_offset, step_offset, groups, work }
        })
    }

    /// Returns the dispatches of a step of `layers` layers, each at its chunk of the wave.
    fn steps_of_wave(self, schedule: &Schedule, number: usize, layers: usize) -> impl Iterator<Item = Dispatch> {
        let chunk_offset = schedule.params.wave_offset(number);
        self.turn(schedule, 0, 0).map(move |Dispatch { groups: [x, y, _], work, binding, step_offset, .. }| Dispatch {
            binding,
            chunk_offset,
            step_offset,
            groups: [x, y, layers as u32],
            work: work.saturating_mul(layers as u64),
        })
    }

    /// Returns the time that a step may take, measured as in [`SUBMISSION_WORK`](crate::plan::limits::SUBMISSION_WORK).
    pub(super) fn step_work(self) -> u64 {
        let work = product_work(self.config, self.task.extents.batch, self.config.recurrent_size());
        match self.choice.recurrence {
            Recurrence::Steps(_) | Recurrence::Wavefront(_) => work,
            // A workgroup has an eighth of a small GPU to itself, and the barriers of a step count as a dispatch.
            Recurrence::Sequence(_) => work.saturating_mul(8),
        }
    }
}

pub(super) fn gx_array(bytes: u64) -> Array {
    Array { name: Name::Gx, bytes, owner: Owner::Scratch }
}

/// Returns the bytes of an array of f32, or the largest number if they exceed every limit.
pub(super) fn bytes_of(shape: &[usize]) -> u64 {
    shape.iter().fold(F32, |bytes, &size| bytes.saturating_mul(size as u64))
}

/// Returns the bytes from the output of one layer to the next, if they follow one another in a buffer.
pub(super) fn padded_output(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(256).unwrap_or(u64::MAX)
}

/// Returns the operations of a product of `rows` rows of `features` with the weights of all gates, units and
/// directions.
pub(super) fn product_flops(config: &RecurrentConfig, rows: usize, features: usize) -> u64 {
    let factors = [2, rows as u64, features as u64, config.directions() as u64, config.gate_rows() as u64];
    saturating_product(&factors)
}

/// Returns the work of such a product: the longer of computing it and reading its weights, plus the start of a
/// dispatch.
pub(super) fn product_work(config: &RecurrentConfig, rows: usize, features: usize) -> u64 {
    let weight_bytes = (product_flops(config, 1, features) / 2).saturating_mul(F32);
    let work = product_flops(config, rows, features).max(weight_bytes.saturating_mul(WORK_PER_BYTE));
    work.saturating_add(WORK_PER_DISPATCH)
}
