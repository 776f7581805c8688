//! Execution of programs on the host, as far as which elements their dispatches read and write: every element is
//! written before it is read, no dispatch reads an element that another of its invocations writes, every layer reads
//! the gx of its own steps and the output of the layer below, and every result is written.
//!
//! The reads and writes of each kernel are specified here a second time, by the indices of the shaders, so that
//! programs and their parameters are checked against something other than themselves.

use std::collections::HashMap;

use super::*;
use crate::call::{Call, Results, StateArrays};
use crate::cell_kind::{CellKind, Nonlinearity};
use crate::extents::Extents;
use crate::options::Options;
use crate::plan::kernel::Kernel;
use crate::plan::params::{ChunkParams, SharedParams};
use crate::plan::program::Dispatch;

/// An element of f32; in gx, of a unit's gates.
type Element = (Name, usize);

/// The unit of a row and direction that an invocation finishes.
type Owner = (usize, usize, usize, usize);

/// A layer and a time.
type LayerTime = (usize, usize);

/// The invocations of a dispatch that read and write each element, and whose gx or output the elements are.
#[derive(Default)]
struct Effects {
    reads: HashMap<Element, Vec<Owner>>,
    writes: HashMap<Element, Owner>,
    expected: Vec<(Element, LayerTime)>,
    made: Vec<(Element, LayerTime)>,
}

impl Effects {
    fn read(&mut self, owner: Owner, name: Name, at: usize) {
        self.reads.entry((name, at)).or_default().push(owner);
    }

    fn write(&mut self, owner: Owner, name: Name, at: usize) {
        let before = self.writes.insert((name, at), owner);
        assert!(before.is_none_or(|before| before == owner), "{name:?} {at} is written by {before:?} and {owner:?}");
    }
}

/// A program, and the elements that it has written so far.
struct Run<'a> {
    plan: &'a Plan,
    call: &'a Call,
    shared: SharedParams,
    params: Vec<u8>,
    written: HashMap<Name, Vec<bool>>,
    made: HashMap<Element, LayerTime>,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, call: &'a Call) -> Self {
        let params = plan.filled_params().unwrap();
        let shared = bytemuck::pod_read_unaligned(&params[..size_of::<SharedParams>()]);
        let gates = plan.config.cell.gates();
        let elements = |array: &Array| array.bytes as usize / 4 / if array.name == Name::Gx { gates } else { 1 };
        let written = plan.program.arrays.iter().map(|array| (array.name, vec![false; elements(array)])).collect();
        Self { plan, call, shared, params, written, made: HashMap::new() }
    }

    fn mark(&mut self, name: Name, range: Range<usize>) {
        self.written.get_mut(&name).unwrap()[range].fill(true);
    }

    fn elements(range: Range<u64>) -> Range<usize> {
        range.start as usize / 4..range.end as usize / 4
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Clear { target, range } => self.mark(target, Self::elements(range)),
            Command::Copy(Copy { source, from, target, to, bytes }) => {
                let read = &self.written[&source][Self::elements(from..from + bytes)];
                // If a row ends before the last step, its c of later steps is never written and never read.
                let c_of_every_step = self.plan.task.all_states && source == Name::State(1);
                assert!(
                    read.iter().all(|&written| written) || c_of_every_step,
                    "{source:?} is copied before it is written"
                );
                self.mark(target, Self::elements(to..to + bytes));
            }
            Command::Dispatch(dispatch) => self.dispatch(&dispatch),
        }
    }

    fn dispatch(&mut self, dispatch: &Dispatch) {
        let binding = &self.plan.program.bindings[dispatch.binding];
        let names: Vec<Name> = binding.storage.iter().map(|&(name, _)| name).collect();
        let sources = binding.pipeline.sources;
        let mut effects = Effects::default();
        let directions = self.shared.directions as usize;
        let chunks = if sources.wavefront { dispatch.groups[2] as usize / directions } else { 1 };
        for n in 0..chunks {
            let at = dispatch.chunk_offset as usize + size_of::<SharedParams>() + n * size_of::<ChunkParams>();
            let chunk: ChunkParams = bytemuck::pod_read_unaligned(&self.params[at..at + size_of::<ChunkParams>()]);
            let index = || {
                let at = dispatch.step_offset as usize;
                bytemuck::pod_read_unaligned::<u32>(&self.params[at..at + 4]) as usize
            };
            match sources.kernel {
                Kernel::InputProduct | Kernel::InputProductFewRows => {
                    self.input_product(&mut effects, &names, n, &chunk)
                }
                Kernel::Projection => self.projection(&mut effects, &names, n, &chunk, index()),
                Kernel::Sequence => {
                    for index in 0..chunk.steps as usize {
                        self.step(&mut effects, &names, n, &chunk, index, 0, true);
                    }
                }
                _ => self.step(&mut effects, &names, n, &chunk, index(), sources.product, false),
            }
        }
        let Effects { reads, writes, expected, made } = effects;
        for (element, of) in expected {
            assert_eq!(self.made.get(&element), Some(&of), "{element:?} is of another layer or time");
        }
        self.made.extend(made);
        for ((name, at), owners) in reads {
            let array = self.written.get(&name).unwrap_or_else(|| panic!("{name:?} is not in the table"));
            assert!(array[at], "{name:?} {at} is read before it is written");
            let others = writes.get(&(name, at)).is_some_and(|writer| owners.iter().any(|owner| owner != writer));
            assert!(!others, "{name:?} {at} is read while another invocation writes it");
        }
        for (name, at) in writes.into_keys() {
            self.mark(name, at..at + 1);
        }
    }

    /// Returns every unit of every row and direction.
    fn owners(&self, chunk: usize, units: u32) -> impl Iterator<Item = Owner> + use<> {
        let SharedParams { batch, directions, .. } = self.shared;
        let rows = (0..directions).flat_map(move |d| (0..batch).map(move |b| (d, b)));
        rows.flat_map(move |(d, b)| (0..units).map(move |u| (chunk, d as usize, b as usize, u as usize)))
    }

    fn input_product(&self, effects: &mut Effects, names: &[Name], n: usize, chunk: &ChunkParams) {
        let SharedParams { batch, directions, hidden_size, .. } = self.shared;
        for index in 0..chunk.steps as usize {
            for owner @ (_, d, b, u) in self.owners(n, hidden_size) {
                let t = self.call.time_of(chunk.first_step as usize + index, d, b);
                let owner = (owner.0 + index, d, b, u);
                let row = chunk.x_offset as usize + t * chunk.x_stride_t as usize + b * chunk.x_stride_b as usize;
                // All units read the same features; one stands for all.
                let features = if u == 0 { chunk.k_first..chunk.k_end } else { 0..0 };
                for at in features.map(|k| row + k as usize) {
                    effects.read(owner, names[0], at);
                    if names[0] != Name::Input {
                        effects.expected.push(((names[0], at), (self.layer(chunk) - 1, t)));
                    }
                }
                let gx = ((index * batch as usize + b) * directions as usize + d) * hidden_size as usize + u;
                let gx = chunk.gx_offset as usize + gx;
                if chunk.k_first > 0 {
                    effects.read(owner, Name::Gx, gx);
                }
                effects.write(owner, Name::Gx, gx);
                effects.made.push(((Name::Gx, gx), (self.layer(chunk), t)));
            }
        }
    }

    /// Returns the layer of a chunk, by where its h begins.
    fn layer(&self, chunk: &ChunkParams) -> usize {
        let SharedParams { directions, state_rows, recurrent_size, .. } = self.shared;
        (chunk.h_offset / (directions * state_rows * recurrent_size)) as usize
    }

    fn h_index(&self, chunk: &ChunkParams, d: usize, b: usize, k: usize) -> usize {
        let row = d * self.shared.state_rows as usize + self.call.state_row(b);
        chunk.h_offset as usize + row * self.shared.recurrent_size as usize + k
    }

    fn h_before(&self, chunk: &ChunkParams, s: usize, d: usize, b: usize, k: usize) -> usize {
        s % 2 * self.shared.h_size as usize + self.h_index(chunk, d, b, k)
    }

    fn c_index(&self, chunk: &ChunkParams, s: usize, d: usize, b: usize, u: usize) -> usize {
        let row = d * self.shared.state_rows as usize + self.call.state_row(b);
        let before = chunk.c_offset as usize + s * self.shared.c_stride_s as usize;
        before + row * self.shared.hidden_size as usize + u
    }

    fn raw_index(&self, d: usize, b: usize, u: usize) -> usize {
        (b * self.shared.directions as usize + d) * self.shared.hidden_size as usize + u
    }

    /// Records the writes of h of a step: to the output, the next step and, at the end, the last state.
    fn leave_h(
        &self,
        effects: &mut Effects,
        [h, y, h_n]: [Name; 3],
        chunk: &ChunkParams,
        s: usize,
        (owner, k): (Owner, usize),
    ) {
        let (_, d, b, _) = owner;
        let length = self.call.length(b);
        let t = self.call.time_of(s, d, b);
        let y_at = chunk.y_offset as usize + t * chunk.y_stride_t as usize + b * chunk.y_stride_b as usize;
        let y_at = y_at + d * self.shared.recurrent_size as usize + k;
        effects.write(owner, y, y_at);
        effects.made.push(((y, y_at), (self.layer(chunk), t)));
        if s < length {
            effects.write(owner, h, self.h_before(chunk, s + 1, d, b, k));
        }
        if length == 0 && s == 0 {
            effects.read(owner, h, self.h_before(chunk, 0, d, b, k));
        }
        if s + 1 == length || (length == 0 && s == 0) {
            effects.write(owner, h_n, self.h_index(chunk, d, b, k));
        }
    }

    /// Records the effects of a product of one step with its part of the cell. If `whole`, a workgroup runs all steps
    /// of a row, and keeps h to itself.
    #[expect(clippy::too_many_arguments, reason = "one per input of the kernel")]
    fn step(
        &self,
        effects: &mut Effects,
        names: &[Name],
        n: usize,
        chunk: &ChunkParams,
        index: usize,
        product: usize,
        whole: bool,
    ) {
        if index >= chunk.steps as usize {
            return;
        }
        let &[gx, _, _, h, y, h_out, ..] = names else { panic!("{names:?}") };
        let own = names.get(6).copied();
        let config = &self.plan.config;
        let SharedParams { batch, directions, hidden_size, recurrent_size, .. } = self.shared;
        let s = chunk.first_step as usize + index;
        let last_product = product + 1 == config.cell.products().len();
        for (n, d, b, u) in self.owners(n, hidden_size) {
            // A workgroup that runs whole rows counts as one reader and writer.
            let owner = if whole { (n, d, b, 0) } else { (n, d, b, u) };
            let row = ((index * batch as usize + b) * directions as usize + d) * hidden_size as usize;
            effects.read(owner, gx, chunk.gx_offset as usize + row + u);
            let time = self.call.time_of(s, d, b);
            effects.expected.push(((gx, chunk.gx_offset as usize + row + u), (self.layer(chunk), time)));
            if s < self.call.length(b) {
                for k in 0..recurrent_size as usize {
                    match product {
                        0 if !whole || index == 0 => effects.read(owner, h, self.h_before(chunk, s, d, b, k)),
                        0 => {}
                        _ => effects.read(owner, Name::Gated, self.raw_index(d, b, k)),
                    }
                }
                if config.cell.states().len() > 1 {
                    if !whole || index == 0 {
                        effects.read(owner, own.unwrap(), self.c_index(chunk, s, d, b, u));
                    }
                    effects.write(owner, own.unwrap(), self.c_index(chunk, s + 1, d, b, u));
                }
                let z = (batch * directions * hidden_size) as usize + self.raw_index(d, b, u);
                match (last_product, product) {
                    (false, _) => {
                        effects.write(owner, Name::Gated, self.raw_index(d, b, u));
                        effects.write(owner, Name::Gated, z);
                    }
                    (true, 1) => effects.read(owner, Name::Gated, z),
                    (true, _) => {}
                }
            }
            if config.is_projected() {
                if s < self.call.length(b) {
                    effects.write(owner, h_out, self.raw_index(d, b, u));
                }
            } else if last_product {
                self.leave_h(effects, [h, y, h_out], chunk, s, (owner, u));
            }
        }
    }

    fn projection(&self, effects: &mut Effects, names: &[Name], n: usize, chunk: &ChunkParams, index: usize) {
        let &[raw, _, h, y, h_n] = names else { panic!("{names:?}") };
        let s = chunk.first_step as usize + index;
        for owner @ (_, d, b, p) in self.owners(n, self.shared.recurrent_size) {
            if s < self.call.length(b) {
                (0..self.shared.hidden_size as usize).for_each(|u| effects.read(owner, raw, self.raw_index(d, b, u)));
            }
            self.leave_h(effects, [h, y, h_n], chunk, s, (owner, p));
        }
    }
}

/// Runs the program of a call from zero states, and checks that output and states are written.
fn check(config: &RecurrentConfig, call: &Call, limits: &DeviceLimits) {
    let plan = Plan::new(config, Precision::F32, call.task, limits).unwrap();
    let mut run = Run::new(&plan, call);
    let input = run.written[&Name::Input].len();
    run.mark(Name::Input, 0..input);
    let states = config.cell.states().len();
    plan.initial_commands(&vec![Source::Zeros; states]).into_iter().for_each(|command| run.command(command));
    plan.program.commands().for_each(|command| run.command(command));
    let all = |name: Name| run.written.get(&name).is_none_or(|array| array.iter().all(|&written| written));
    let name = format!("{config} over {:?}", call.task);
    assert!(all(Name::State(0)), "{name}: the last h is not written");
    if call.task.results == Results::OnDevice {
        assert!(all(Name::Output), "{name}: the output is not written");
    } else if call.task.results == Results::StatesOnDevice {
        assert!(
            plan.program.scratch().iter().any(|array| array.name == Name::Output),
            "{name}: the output is requested"
        );
    } else {
        assert!(all(Name::Readback), "{name}: the readback is not written");
    }
}

#[test]
fn programs_write_before_they_read_and_leave_every_result() {
    let small = DeviceLimits { stacked_weights: true, ..super::tests::limits() };
    let mut checked = 0;
    for cell in CellKind::ALL {
        for (layers, bidirectional, projected) in
            [(1, false, 0), (1, true, 0), (3, false, 0), (2, true, 0), (2, true, 2)]
        {
            if projected > 0 && cell != CellKind::Lstm {
                continue;
            }
            let config = RecurrentConfig {
                num_layers: layers,
                bidirectional,
                proj_size: projected,
                batch_first: layers == 3,
                ..RecurrentConfig::one_layer(cell, 2, 5)
            };
            for (t, lengths) in [(1, vec![1, 1]), (4, vec![4, 4]), (5, vec![2, 5, 0, 1])] {
                let extents = Extents::batched(&config, t, lengths.len());
                for strategy in [Strategy::Step, Strategy::Sequence, Strategy::Wavefront] {
                    for (all_states, results) in [
                        (false, Results::OnDevice),
                        (false, Results::StatesOnDevice),
                        (false, Results::OutputAndStates),
                        (true, Results::OutputAndStates),
                    ] {
                        let mut call =
                            Call::new(extents, &Options { lengths: Some(&lengths), ..Options::new() }).unwrap();
                        call.task = Task { strategy, all_states, results, ..call.task };
                        // One chunk for all steps, and one chunk per step.
                        for submission_work in [limits::SUBMISSION_WORK, 1] {
                            let limits = DeviceLimits { submission_work, ..small };
                            if Plan::new(&config, Precision::F32, call.task, &limits).is_ok() {
                                check(&config, &call, &limits);
                                checked += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(checked > 500, "only {checked} programs ran");
}

/// Checks sums over more features than one dispatch takes, and rows of streams.
#[test]
fn slices_and_streams_write_before_they_read() {
    let wide = RecurrentConfig::one_layer(CellKind::Rnn(Nonlinearity::Tanh), 40_000, 2);
    let call = Call::new(Extents::batched(&wide, 2, 1), &Options::new()).unwrap();
    check(&wide, &call, &super::tests::limits());

    let config = RecurrentConfig { num_layers: 2, ..RecurrentConfig::one_layer(CellKind::Lstm, 2, 5) };
    let call = Call::new(Extents::batched(&config, 3, 2), &Options::new()).unwrap();
    let call = call.over(StateArrays { rows: 2, tile_batch: 7 }).with_state_rows(vec![1, 0]);
    check(&config, &call, &super::tests::limits());
}
