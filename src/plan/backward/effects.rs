//! Execution of backward programs on the host, as far as which elements their dispatches read and write, like
//! `plan/effects.rs` for forwards: every element is written before it is read, no dispatch reads an element that
//! another of its invocations writes, every step of every row is taken once and in order, and every result is written.

use std::collections::{HashMap, HashSet};

use super::*;
use crate::call::{Call, Results, Task};
use crate::cell_kind::CellKind;
use crate::extents::Extents;
use crate::options::Options;
use crate::plan::kernel::WeightArray;
use crate::plan::params::{ChunkParams, SharedParams};
use crate::plan::program::{Array, Command, Copy, Dispatch, Name};
use crate::plan::tests::limits;

/// An element: of f32; in gx and the gates, of a unit; in the gates of a GRU with two products, of a member of a unit.
type Element = (Name, usize);
/// The invocation that finishes a value: direction, row, unit.
type Owner = (usize, usize, usize);

#[derive(Default)]
struct Effects {
    reads: HashMap<Element, HashSet<Owner>>,
    writes: HashMap<Element, Owner>,
}

impl Effects {
    fn read(&mut self, owner: Owner, name: Name, at: usize) {
        self.reads.entry((name, at)).or_default().insert(owner);
    }

    fn write(&mut self, owner: Owner, name: Name, at: usize) {
        let before = self.writes.insert((name, at), owner);
        assert!(before.is_none_or(|before| before == owner), "{name:?} {at} is written by {before:?} and {owner:?}");
    }
}

struct Run<'a> {
    plan: &'a BackwardPlan,
    call: &'a Call,
    shared: SharedParams,
    params: Vec<u8>,
    /// Arrays of the forward are missing: they are written.
    written: HashMap<Name, Vec<bool>>,
    /// The next step of each (layer, direction, row); one more than the last when it has not begun.
    next: HashMap<(usize, usize, usize), usize>,
    members: usize,
}

impl<'a> Run<'a> {
    fn new(plan: &'a BackwardPlan, call: &'a Call) -> Self {
        let params = plan.filled_params().unwrap();
        let shared = bytemuck::pod_read_unaligned(&params[..size_of::<SharedParams>()]);
        let cell = plan.config.cell;
        let members = if cell == CellKind::GruResetBefore { 4 } else { 1 };
        let floats = if BackwardKernel::recomputes(cell) { 4 } else { 1 };
        let elements = |array: &Array| match array.name {
            Name::Gates => array.bytes as usize / 4 / floats * members,
            _ => array.bytes as usize / 4,
        };
        let mut written: HashMap<_, _> =
            plan.program.arrays.iter().map(|array| (array.name, vec![false; elements(array)])).collect();
        written.insert(Name::Gx, vec![false; written[&Name::Gates].len() / members]);
        let mut next = HashMap::new();
        for (layer, d) in (0..plan.config.num_layers).flat_map(|l| (0..plan.config.directions()).map(move |d| (l, d))) {
            (0..call.extents().batch).for_each(|b| assert!(next.insert((layer, d, b), call.length(b)).is_none()));
        }
        Self { plan, call, shared, params, written, next, members }
    }

    /// Writes whole arrays, as the host does before the program.
    fn fill(&mut self, name: Name) {
        self.written.get_mut(&name).unwrap().fill(true);
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Clear { target, .. } => self.fill(target),
            Command::Copy(Copy { source, from, target, to, bytes }) => {
                let range = |at: u64| at as usize / 4..(at + bytes) as usize / 4;
                assert!(self.written[&source][range(from)].iter().all(|&written| written), "{source:?} is incomplete");
                self.written.get_mut(&target).unwrap()[range(to)].fill(true);
            }
            Command::Dispatch(dispatch) => self.dispatch(&dispatch),
        }
    }

    fn dispatch(&mut self, dispatch: &Dispatch) {
        let binding = &self.plan.program.bindings[dispatch.binding];
        let names: Vec<Name> = binding.storage.iter().map(|&(name, _)| name).collect();
        let at = dispatch.chunk_offset as usize + size_of::<SharedParams>();
        let chunk: ChunkParams = bytemuck::pod_read_unaligned(&self.params[at..at + size_of::<ChunkParams>()]);
        let at = dispatch.step_offset as usize;
        let index = bytemuck::pod_read_unaligned::<u32>(&self.params[at..at + 4]) as usize;
        let product = binding.pipeline.sources.product;
        let mut effects = Effects::default();
        match binding.pipeline.sources.kernel {
            Kernel::Backward(kernel) => match kernel {
                BackwardKernel::Recompute => self.recompute(&mut effects, &chunk, product),
                BackwardKernel::Step | BackwardKernel::StepProjected => {
                    self.step(&mut effects, &names, &chunk, index, kernel)
                }
                BackwardKernel::Reset => self.reset(&mut effects, &chunk, index),
                BackwardKernel::Projection => self.projection(&mut effects, &chunk, index),
                BackwardKernel::InputWeights | BackwardKernel::RecurrentWeights | BackwardKernel::ProjectionWeights => {
                    self.weights(&mut effects, &names, &chunk, kernel, product)
                }
                BackwardKernel::SumParts => {
                    let size = self.written[&names[0]].len();
                    (0..size).for_each(|at| effects.read((0, 0, 0), names[0], at));
                }
                BackwardKernel::InputGradient => self.input_gradient(&mut effects, &names, &chunk),
            },
            _ => self.rows(&chunk, |run, _, d, b, row| {
                (0..run.hidden()).for_each(|u| effects.write((d, b, u), Name::Gx, run.unit(row, d, u)));
            }),
        }
        for ((name, at), owners) in effects.reads {
            let Some(array) = self.written.get(&name) else { continue };
            assert!(array[at], "{name:?} {at} is read before it is written");
            let others =
                effects.writes.get(&(name, at)).is_some_and(|writer| owners.iter().any(|owner| owner != writer));
            assert!(!others, "{name:?} {at} is read while another invocation writes it");
        }
        for (name, at) in effects.writes.into_keys() {
            self.written.get_mut(&name).unwrap()[at] = true;
        }
    }

    fn hidden(&self) -> usize {
        self.shared.hidden_size as usize
    }

    fn width(&self) -> usize {
        self.shared.recurrent_size as usize
    }

    /// Returns the index of a unit in `[rows, D, H]`.
    fn unit(&self, row: usize, d: usize, u: usize) -> usize {
        (row * self.shared.directions as usize + d) * self.hidden() + u
    }

    /// Returns the index of a member of the gates of a unit.
    fn gate(&self, row: usize, d: usize, u: usize, member: usize) -> usize {
        self.unit(row, d, u) * self.members + member
    }

    /// Visits step, direction, batch row and chunk row of every row of a chunk.
    fn rows(&self, chunk: &ChunkParams, mut visit: impl FnMut(&Self, usize, usize, usize, usize)) {
        let batch = self.shared.batch as usize;
        for row in 0..chunk.steps as usize * batch {
            let s = chunk.first_step as usize + row / batch;
            (0..self.shared.directions as usize).for_each(|d| visit(self, s, d, row % batch, row));
        }
    }

    /// The same for the rows that are not padding.
    fn steps(&self, chunk: &ChunkParams, mut visit: impl FnMut(&Self, usize, usize, usize, usize)) {
        self.rows(chunk, |run, s, d, b, row| {
            if s < run.call.length(b) {
                visit(run, s, d, b, row);
            }
        });
    }

    fn layer(&self, chunk: &ChunkParams) -> usize {
        (chunk.h_offset / (self.shared.directions * self.shared.state_rows * self.shared.recurrent_size)) as usize
    }

    /// Returns the index in a state whose rows have `size` values.
    fn state(&self, chunk: &ChunkParams, d: usize, b: usize, k: usize, size: usize) -> usize {
        let rows = (self.layer(chunk) * self.shared.directions as usize + d) * self.shared.state_rows as usize;
        (rows + b) * size + k
    }

    fn recompute(&self, effects: &mut Effects, chunk: &ChunkParams, product: usize) {
        self.rows(chunk, |run, _, d, b, row| {
            for u in 0..run.hidden() {
                effects.read((d, b, u), Name::Gx, run.unit(row, d, u));
                let members = match (run.members, product) {
                    (1, _) => vec![0],
                    (_, 0) => vec![0, 1, 3],
                    (_, _) => vec![2],
                };
                members.into_iter().for_each(|m| effects.write((d, b, u), Name::Gates, run.gate(row, d, u, m)));
                if product == 1 {
                    (0..run.hidden()).for_each(|k| effects.read((d, b, u), Name::Gates, run.gate(row, d, k, 3)));
                }
            }
        });
    }

    /// Records the reads of δ of the first product of all units in a row.
    fn read_deltas(&self, effects: &mut Effects, owner: Owner, row: usize, members: std::ops::Range<usize>) {
        let all = (0..self.hidden()).flat_map(|u| members.clone().map(move |m| (u, m)));
        all.for_each(|(u, m)| effects.read(owner, Name::Gates, self.gate(row, owner.0, u, m)));
    }

    fn step(
        &mut self,
        effects: &mut Effects,
        names: &[Name],
        chunk: &ChunkParams,
        index: usize,
        kernel: BackwardKernel,
    ) {
        let (batch, layer) = (self.shared.batch as usize, self.layer(chunk));
        let after = chunk.first_step as usize + index;
        for (d, b) in (0..self.shared.directions as usize).flat_map(|d| (0..batch).map(move |b| (d, b))) {
            let length = self.call.length(b);
            let takes = index > 0 && after <= length;
            for k in 0..self.width() {
                let owner = (d, b, k);
                let carry = self.state(chunk, d, b, k, self.width());
                effects.read(owner, Name::StateGradient(0), carry);
                if index < chunk.steps as usize && after < length {
                    self.read_deltas(effects, owner, index * batch + b, 0..if self.members == 1 { 1 } else { 2 });
                }
                if index == 0 || takes {
                    effects.write(owner, Name::StateGradient(0), carry);
                }
                if !takes {
                    continue;
                }
                let (s, row) = (after - 1, (index - 1) * batch + b);
                let t = self.call.time_of(s, d, b);
                let dy = t * chunk.y_stride_t as usize + b * chunk.y_stride_b as usize + d * self.width() + k;
                effects.read(owner, names[2], dy);
                if kernel == BackwardKernel::StepProjected {
                    let directions = self.shared.directions as usize;
                    effects.write(owner, Name::DhRows, (row * directions + d) * self.width() + k);
                    continue;
                }
                let members = if self.members == 1 { 0..1 } else { 1..3 };
                for member in members {
                    let at = self.gate(row, d, k, member);
                    if BackwardKernel::recomputes(self.plan.config.cell) {
                        effects.read(owner, Name::Gates, at);
                    }
                    effects.write(owner, Name::Gates, at);
                }
                if self.plan.config.cell.states().len() > 1 {
                    let at = self.state(chunk, d, b, k, self.hidden());
                    effects.read(owner, Name::StateGradient(1), at);
                    effects.write(owner, Name::StateGradient(1), at);
                }
            }
            if takes {
                let next = self.next.get_mut(&(layer, d, b)).unwrap();
                assert_eq!(*next, after, "layer {layer}, direction {d}, row {b}: a step is left out or taken twice");
                *next = after - 1;
            }
        }
    }

    fn reset(&self, effects: &mut Effects, chunk: &ChunkParams, index: usize) {
        let batch = self.shared.batch as usize;
        self.steps(chunk, |run, s, d, b, row| {
            if s + 1 != chunk.first_step as usize + index {
                return;
            }
            assert_eq!(row, (index - 1) * batch + b);
            for u in 0..run.hidden() {
                run.read_deltas(effects, (d, b, u), row, 2..3);
                effects.read((d, b, u), Name::Gates, run.gate(row, d, u, 0));
                effects.write((d, b, u), Name::Gates, run.gate(row, d, u, 0));
                let carry = run.state(chunk, d, b, u, run.hidden());
                effects.read((d, b, u), Name::StateGradient(0), carry);
                effects.write((d, b, u), Name::StateGradient(0), carry);
            }
        });
    }

    fn projection(&self, effects: &mut Effects, chunk: &ChunkParams, index: usize) {
        self.steps(chunk, |run, s, d, b, row| {
            if s + 1 != chunk.first_step as usize + index {
                return;
            }
            let dh = (row * run.shared.directions as usize + d) * run.width();
            for u in 0..run.hidden() {
                let owner = (d, b, u);
                (0..run.width()).for_each(|p| effects.read(owner, Name::DhRows, dh + p));
                effects.read(owner, Name::Gates, run.gate(row, d, u, 0));
                effects.write(owner, Name::Gates, run.gate(row, d, u, 0));
                effects.write(owner, Name::Projected, run.unit(row, d, u));
                let dc = run.state(chunk, d, b, u, run.hidden());
                effects.read(owner, Name::StateGradient(1), dc);
                effects.write(owner, Name::StateGradient(1), dc);
            }
        });
    }

    /// Checks what a gradient of weights reads. That it adds to all of its array is known from the clearing of it.
    fn weights(
        &self,
        effects: &mut Effects,
        names: &[Name],
        chunk: &ChunkParams,
        kernel: BackwardKernel,
        product: usize,
    ) {
        effects.read((0, 0, 0), names[1], 0);
        self.steps(chunk, |run, s, d, b, row| {
            // All steps down to this one have been taken.
            assert!(run.next[&(run.layer(chunk), d, b)] <= s);
            if kernel == BackwardKernel::ProjectionWeights {
                let dh = (row * run.shared.directions as usize + d) * run.width();
                (0..run.width()).for_each(|p| effects.read((d, b, p), Name::DhRows, dh + p));
                (0..run.hidden()).for_each(|u| effects.read((d, b, u), Name::Projected, run.unit(row, d, u)));
                return;
            }
            let members = match (run.members, product) {
                (1, _) => 0..1,
                (_, 1) => 2..4,
                _ => 0..2,
            };
            run.read_deltas(effects, (d, b, 0), row, members);
        });
    }

    fn input_gradient(&self, effects: &mut Effects, names: &[Name], chunk: &ChunkParams) {
        self.steps(chunk, |run, s, d, b, row| {
            if d != chunk.direction as usize {
                return;
            }
            assert!(run.next[&(run.layer(chunk), d, b)] <= s);
            run.read_deltas(effects, (d, b, 0), row, 0..run.members.min(3));
            let t = run.call.time_of(s, d, b);
            let dx = t * chunk.x_stride_t as usize + b * chunk.x_stride_b as usize;
            for k in 0..chunk.input_size as usize {
                effects.read((d, b, k), names[2], dx + k);
                effects.write((d, b, k), names[2], dx + k);
            }
        });
    }
}

#[test]
fn backwards_write_before_they_read_and_take_every_step_once() {
    let mut checked = 0;
    for (cell, proj_size) in CellKind::ALL.map(|cell| (cell, 0)).into_iter().chain([(CellKind::Lstm, 2)]) {
        for (layers, bidirectional) in [(1, false), (1, true), (3, true)] {
            let batch_first = layers == 3;
            let one = RecurrentConfig::one_layer(cell, 2, 5);
            let config = RecurrentConfig { num_layers: layers, bidirectional, proj_size, batch_first, ..one };
            for (t, lengths) in [(1, vec![1, 1]), (4, vec![4, 4]), (5, vec![2, 5, 0, 1])] {
                let options = Options { lengths: Some(&lengths), ..Options::new() };
                let call = Call::new(Extents::batched(&config, t, lengths.len()), &options).unwrap();
                // One chunk for all steps, and one chunk per step.
                for (submission_work, software) in [(limits().submission_work, false), (1, false), (1, true)] {
                    let limits = DeviceLimits { submission_work, software, ..limits() };
                    let task = Task { results: Results::Training, ..call.task };
                    let TrainingPlan { backward, .. } = TrainingPlan::new(&config, task, &limits).unwrap();
                    let mut run = Run::new(&backward, &call);
                    run.fill(Name::OutputGradient);
                    (0..config.cell.states().len()).for_each(|state| run.fill(Name::StateGradient(state)));
                    backward.program.commands().for_each(|command| run.command(command));
                    assert!(run.next.values().all(|&next| next == 0), "{config}: steps are left");
                    assert!(run.written[&Name::Readback].iter().all(|&written| written), "{config}: results are left");
                    checked += 1;
                }
            }
        }
    }
    assert_eq!(checked, 6 * 3 * 3 * 3);
}

/// A gradient of weights has the size of the weights and the bias of every direction.
#[test]
fn gradients_are_as_large_as_their_weights() {
    let config = RecurrentConfig { bidirectional: true, ..RecurrentConfig::one_layer(CellKind::Gru, 3, 10) };
    let gradients = WeightGradient::of_layer(&config, 0, true);
    let arrays: Vec<_> = gradients.iter().map(|gradient| gradient.matrix.array).collect();
    assert_eq!(arrays, [WeightArray::Ih, WeightArray::Hh(0)]);
    // Ten units are two blocks of eight; the bias is not padded.
    let bytes: Vec<u64> = gradients.iter().map(|gradient| gradient.bytes(2)).collect();
    assert_eq!(bytes, [3, 10].map(|columns| 2 * 4 * 3 * (16 * columns + 10)));
}
