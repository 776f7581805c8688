//! States that stay on the device from call to call.

use std::ops::Range;
use std::slice::from_ref;
use std::sync::Arc;

use crate::blocking::Wait;
use crate::call::{Call, Results, StateArrays, Task};
use crate::error::{Error, Result};
use crate::extents::Extents;
use crate::gpu::arrays::{Arrays, BufferRange};
use crate::gpu::model::GpuModel;
use crate::gpu::transfer;
use crate::gpu::workspace::Workspace;
use crate::plan::program::{self, Array, Command, Copy, Name};
use crate::real::Real;
use crate::strategy::Strategy;

/// The number of calls that read nothing back after which the host waits for the device: a program that only pushes
/// must not run ahead of it without end.
const CALLS_IN_FLIGHT: usize = 64;
/// The most copies of rows in a layer; a copy costs as much as some hundred rows that nobody needs.
const MOST_COPIES: usize = 16;

/// The input of a push: an array of the host, or one that is on the device already.
pub(crate) enum Input<'a, F> {
    Host(&'a [F]),
    Device(BufferRange),
}

/// The states of many rows, and the buffers of the calls that move them on.
#[derive(Debug)]
pub(crate) struct GpuSession {
    model: Arc<GpuModel>,
    /// [`Name::State`] of each state.
    states: Arrays,
    state_arrays: StateArrays,
    /// The one that was set when the states were made, so that all calls give the bits of one.
    strategy: Strategy,
    results: Results,
    /// One set of buffers, which grows with the largest call. A call takes it out: one that is dropped leaves none.
    workspace: Option<Workspace>,
    in_flight: usize,
}

impl GpuSession {
    /// Creates zero states. `reads_output` says that pushes read their output back.
    pub(crate) async fn new(model: &Arc<GpuModel>, state_arrays: StateArrays, reads_output: bool) -> Result<Self> {
        let task = model.with_strategy(Task { state_arrays, ..Task::forward(Extents::batched(&model.config, 1, 1)) });
        // The strategy chosen for one step is kept, as buffers and pipelines belong to a strategy. A wavefront that
        // nobody requested gives way to steps: the same bits in less memory.
        let strategy = match (task.strategy, model.plan(task)?.strategy()) {
            (Strategy::Auto, Strategy::Wavefront) => Strategy::Step,
            (_, strategy) => strategy,
        };
        let results = if reads_output { Results::Output } else { Results::OnDevice };
        Self::with_strategy(model, state_arrays, strategy, results).await
    }

    async fn with_strategy(
        model: &Arc<GpuModel>,
        state_arrays: StateArrays,
        strategy: Strategy,
        results: Results,
    ) -> Result<Self> {
        // Any plan knows the sizes of the states.
        let one_step = Task::forward(Extents::batched(&model.config, 1, 1));
        let plan = model.plan(Task { state_arrays, strategy, results, ..one_step })?;
        let mut table = plan.program.arrays.clone();
        table.retain(|array| matches!(array.name, Name::State(_)));
        let mut states = Arrays::default();
        states.add_missing(&model.context.gpu, &table).await?;
        Ok(Self { model: Arc::clone(model), states, state_arrays, strategy, results, workspace: None, in_flight: 0 })
    }

    pub(crate) fn is_of(&self, model: &Arc<GpuModel>) -> bool {
        Arc::ptr_eq(&self.model, model)
    }

    /// Returns whether both are arrays of one wgpu device.
    pub(crate) fn shares_device(&self, other: &Self) -> bool {
        self.model.context.gpu.device == other.model.context.gpu.device
    }

    /// h of the first `rows` rows, of a model of one layer and direction: an array that another model can read.
    pub(crate) fn h(&self, rows: usize) -> Result<BufferRange> {
        let row_bytes = (self.model.config.recurrent_size() * size_of::<f32>()) as u64;
        Ok(self.states.get(Name::State(0))?.first(rows as u64 * row_bytes))
    }

    /// Moves the states of the call's rows on by a chunk that is not empty. Gives the output if this session reads it.
    pub(crate) async fn push<F: Real>(&mut self, call: &Call, input: Input<'_, F>, wait: Wait) -> Result<Vec<F>> {
        let model = Arc::clone(&self.model);
        let gpu = &model.context.gpu.for_call();
        gpu.check_alive("pushing a chunk")?;
        let task = Task { strategy: self.strategy, results: self.results, ..call.task };
        let mut workspace = self.take_workspace(task, &input).await?;
        match input {
            Input::Host(input) => workspace.upload(gpu, input, call, wait).await?,
            Input::Device(_) => workspace.upload_call(gpu, call, wait).await?,
        }
        let submission = workspace.submit(gpu, self.copies_of_h(call), wait).await?;
        let mut output = Vec::new();
        if self.results == Results::Output {
            let arrays = workspace.read_back(gpu, submission, wait).await;
            gpu.settle().await?;
            output = arrays?.into_iter().next().unwrap_or_default();
        } else {
            gpu.settle().await?;
            self.in_flight += 1;
            if self.in_flight >= CALLS_IN_FLIGHT {
                gpu.until_done(submission, wait, "pushing a chunk").await?;
                self.in_flight = 0;
            }
        }
        self.workspace = Some(workspace);
        Ok(output)
    }

    /// Returns buffers for a call: the present ones if they are large enough, otherwise new ones with room to spare, as
    /// the chunks of a stream come in all lengths; never more memory than a forward may take.
    async fn take_workspace<F>(&mut self, task: Task, input: &Input<'_, F>) -> Result<Workspace> {
        let model = Arc::clone(&self.model);
        let (context, weights) = (&*model.context, &model.weights);
        let given = match input {
            Input::Host(_) => None,
            Input::Device(range) => Some(range),
        };
        let allowed = |table: &[Array]| program::memory(table) <= model.forward_memory();
        // Buffers whose input is another model's array must not be uploaded to: they do not serve both kinds of call.
        self.workspace.take_if(|kept| kept.reads_given_input != given.is_some());
        // A call that is rejected here leaves the buffers for the next.
        if let Some(kept) = self.workspace.take_if(|kept| kept.asked == task && allowed(&kept.plan.program.arrays)) {
            return with_input(&model, kept, given).await;
        }
        let plan = model.plan(task)?;
        let exact = plan.program.arrays.clone();
        let mut table = exact.clone();
        if let Some(mut kept) = self.workspace.take() {
            table = kept.arrays.at_least(&exact);
            if allowed(&table) && kept.arrays.fit(&exact) {
                kept.reshape(context, weights, task, plan).await?;
                return with_input(&model, kept, given).await;
            }
        }
        let extents = Extents {
            time_steps: task.extents.time_steps.next_power_of_two(),
            batch: task.extents.batch.next_power_of_two().min(task.state_arrays.rows),
            ..task.extents
        };
        if let Ok(roomy) = model.plan(Task { extents, ..task }) {
            table.iter_mut().for_each(|array| array.bytes = array.bytes.max(roomy.program.bytes(array.name)));
        }
        // Room to spare is not worth an error.
        if !allowed(&table) || program::check_arrays(&table, &context.limits).is_err() {
            table = exact.clone();
        }
        let make = async |table: &[Array]| {
            let mut arrays = self.states.clone();
            if let Some(range) = given {
                arrays.set(Name::Input, range.clone());
            }
            arrays.add_missing(&context.gpu, table).await?;
            let mut made = Workspace::new(context, weights, task, plan.clone(), arrays).await?;
            made.reads_given_input = given.is_some();
            Ok(made)
        };
        match make(&table).await {
            Err(Error::OutOfMemory { .. }) if table != exact => make(&exact).await,
            made => made,
        }
    }

    /// Returns the copies of h of a call's rows to where a step reads it. Consecutive rows are one copy; if there are
    /// many scattered ones, all of h is copied.
    fn copies_of_h(&self, call: &Call) -> Vec<Command> {
        let mut rows: Vec<usize> = (0..call.extents().batch).map(|b| call.state_row(b)).collect();
        rows.sort_unstable();
        let runs: Vec<Range<usize>> = rows.chunk_by(|a, b| a + 1 == *b).map(|run| run[0]..run[0] + run.len()).collect();
        let all = 0..self.state_arrays.rows;
        let runs = if runs.len() > MOST_COPIES { std::iter::once(all).collect() } else { runs };
        let copy = |Range { start, end }| {
            let (source, target) = (Name::State(0), Name::H);
            Command::Copy(Copy { source, from: start, target, to: start, bytes: end - start })
        };
        self.regions(0, &runs).map(copy).collect()
    }

    /// Reads the states of some rows, one range after another: each `[L·D, rows, ·]`. One readback.
    pub(crate) async fn read<F: Real>(&self, rows: &[Range<usize>], wait: Wait) -> Result<Vec<Vec<F>>> {
        let mut ranges = Vec::new();
        let mut sizes = Vec::new();
        for state in 0..self.state_count() {
            let buffer = &self.states.get(Name::State(state))?.buffer;
            let first = ranges.len();
            let range = |region: Range<u64>| BufferRange {
                buffer: buffer.clone(),
                offset: region.start,
                bytes: region.end - region.start,
            };
            ranges.extend(self.regions(state, rows).map(range));
            sizes.push(ranges[first..].iter().map(|range| range.bytes).sum());
        }
        transfer::read_ranges(&self.model.context, "reading states", &ranges, &sizes, wait).await
    }

    /// Sets the states of some rows, one range after another: each `[L·D, rows, ·]`; zeros if `None`. One submission,
    /// so that an error leaves all states as they were.
    pub(crate) async fn write<F: Real>(
        &mut self,
        rows: &[Range<usize>],
        states: Option<&[&[F]]>,
        wait: Wait,
    ) -> Result<()> {
        let gpu = &self.model.context.gpu;
        let mut staged = Vec::new();
        for values in states.into_iter().flatten() {
            staged.push(self.staged(bytemuck::cast_slice(values), wait).await?);
        }
        let set = gpu.scoped("setting states", || {
            let mut encoder = self.encoder();
            for state in 0..self.state_count() {
                let target = &self.states.get(Name::State(state))?.buffer;
                let mut at = 0;
                for Range { start, end } in self.regions(state, rows) {
                    match staged.get(state) {
                        Some(staged) => encoder.copy_buffer_to_buffer(staged, at, target, start, end - start),
                        None => encoder.clear_buffer(target, start, Some(end - start)),
                    }
                    at += end - start;
                }
            }
            gpu.queue.submit([encoder.finish()]);
            Ok(())
        });
        set.await?
    }

    /// A buffer with the values of a state, to be copied to where they belong.
    async fn staged(&self, bytes: &[u8], wait: Wait) -> Result<wgpu::Buffer> {
        use wgpu::BufferUsages as Use;
        let gpu = &self.model.context.gpu;
        let make = || transfer::buffer(&gpu.device, "states", bytes.len() as u64, Use::COPY_SRC | Use::COPY_DST);
        let staging = gpu.scoped("setting states", make).await?;
        transfer::upload(gpu, &staging, 0, bytes, wait).await?;
        Ok(staging)
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        let label = Some("wgpu-rnn states");
        self.model.context.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label })
    }

    /// Makes room for `count` rows; existing rows keep their states, new ones start from zeros.
    pub(crate) async fn grow(&mut self, count: usize) -> Result<()> {
        let gpu = &self.model.context.gpu;
        // The buffers of calls go before those of more rows come.
        self.workspace = None;
        let state_arrays = StateArrays { rows: count, ..self.state_arrays };
        let grown = Self::with_strategy(&self.model, state_arrays, self.strategy, self.results).await?;
        let old = 0..self.state_arrays.rows;
        let copied = gpu.scoped("making room for states", || {
            let mut encoder = self.encoder();
            for state in 0..self.state_count() {
                let name = Name::State(state);
                let (from, to) = (&self.states.get(name)?.buffer, &grown.states.get(name)?.buffer);
                for (source, target) in self.regions(state, from_ref(&old)).zip(grown.regions(state, from_ref(&old))) {
                    encoder.copy_buffer_to_buffer(from, source.start, to, target.start, source.end - source.start);
                }
            }
            gpu.queue.submit([encoder.finish()]);
            Ok(())
        });
        copied.await??;
        *self = grown;
        Ok(())
    }

    fn state_count(&self) -> usize {
        self.model.config.cell.states().len()
    }

    /// Returns where some rows lie in a state's buffer, in bytes: for each layer and direction, one place per range.
    fn regions(&self, state: usize, rows: &[Range<usize>]) -> impl Iterator<Item = Range<u64>> {
        let (config, count) = (&self.model.config, self.state_arrays.rows);
        let row_bytes = config.state_size(state) * size_of::<f32>();
        let at = move |layer: usize, row: usize| ((layer * count + row) * row_bytes) as u64;
        let layers = 0..config.layers_and_directions();
        layers.flat_map(move |layer| rows.iter().map(move |rows| at(layer, rows.start)..at(layer, rows.end)))
    }
}

/// Returns the workspace, with its input bound to the given array, if any.
async fn with_input(model: &GpuModel, mut workspace: Workspace, given: Option<&BufferRange>) -> Result<Workspace> {
    if let Some(range) = given {
        workspace.set_input(&model.context, &model.weights, range.clone()).await?;
    }
    Ok(workspace)
}
