//! States that stay on the device from call to call.

use std::ops::Range;
use std::slice::from_ref;
use std::sync::Arc;

use crate::call::{Call, StateArrays, Task};
use crate::gpu::Wait;
use crate::gpu::exec::{self, Initial};
use crate::gpu::model::GpuModel;
use crate::gpu::transfer;
use crate::gpu::workspace::{States, Wanted, Workspace};
use crate::plan::bytes::BufferBytes;
use crate::extents::Extents;
use crate::strategy::Strategy;
use crate::{Error, Real, Result};

/// After so many calls that read nothing back, the device is waited for: a program that only pushes must not run ahead of it
/// without end.
const CALLS_IN_FLIGHT: usize = 64;
/// The most copies of rows in a layer; a copy costs as much as some hundred rows that nobody needs.
const MOST_COPIES: usize = 16;

/// The states of many rows, and the buffers of the calls that move them on.
#[derive(Debug)]
pub(crate) struct GpuSession {
    model: Arc<GpuModel>,
    states: States,
    state_arrays: StateArrays,
    /// The one that was set when the states were made, so that all calls give the bits of one.
    strategy: Strategy,
    wanted: Wanted,
    /// One set of buffers, which grows with the largest call. It is taken out for a call: one that is broken off leaves none.
    workspace: Option<Workspace>,
    in_flight: usize,
}

impl GpuSession {
    /// Zero states. `reads_output` says whether pushes read their output back.
    pub(crate) async fn new(model: &Arc<GpuModel>, state_arrays: StateArrays, reads_output: bool) -> Result<Self> {
        let task = model.with_strategy(Task { state_arrays, ..Task::forward(Extents::batched(&model.config, 1, 1)) });
        // What is chosen for one step is kept, as buffers and pipelines are those of a strategy. Steps give the bits of a wavefront
        // that nobody asked for, in less memory.
        let strategy = match (task.strategy, model.plan(task)?.strategy()) {
            (Strategy::Auto, Strategy::Wavefront) => Strategy::Step,
            (_, strategy) => strategy,
        };
        Self::with_strategy(model, state_arrays, strategy, reads_output).await
    }

    async fn with_strategy(
        model: &Arc<GpuModel>,
        state_arrays: StateArrays,
        strategy: Strategy,
        reads_output: bool,
    ) -> Result<Self> {
        let wanted = if reads_output { Wanted::Output } else { Wanted::Nothing };
        // Any plan knows the sizes of the states.
        let one_step = Task::forward(Extents::batched(&model.config, 1, 1));
        let plan = model.plan(Task { state_arrays, strategy, ..one_step })?;
        let states = States::new(&model.context.gpu, &plan).await?;
        Ok(Self { model: Arc::clone(model), states, state_arrays, strategy, wanted, workspace: None, in_flight: 0 })
    }

    pub(crate) fn is_of(&self, model: &Arc<GpuModel>) -> bool {
        Arc::ptr_eq(&self.model, model)
    }

    /// Moves the states of the call's rows on by a chunk that is not empty. Gives the output if this session reads it.
    pub(crate) async fn push<F: Real>(&mut self, call: &Call, input: &[F], wait: Wait) -> Result<Vec<F>> {
        let model = Arc::clone(&self.model);
        let gpu = &model.context.gpu;
        gpu.check_alive("pushing a chunk")?;
        let task = Task { strategy: self.strategy, ..call.task };
        let mut workspace = self.take_workspace(task, wait).await?;
        workspace.upload(gpu, input, call, wait).await?;
        let initial = Initial::Last(self.h_of_call(call));
        let submission = exec::submit(gpu, &workspace, &initial, wait).await?;
        let mut output = Vec::new();
        if self.wanted == Wanted::Output {
            let arrays = workspace.read_back(gpu, submission, wait).await?;
            output = arrays.into_iter().next().unwrap_or_default();
        } else {
            self.in_flight += 1;
            if self.in_flight >= CALLS_IN_FLIGHT {
                gpu.until_done(submission, wait, "pushing a chunk").await?;
                self.in_flight = 0;
            }
        }
        self.workspace = Some(workspace);
        Ok(output)
    }

    /// Buffers for a call: the ones that are there where they are large enough, else new ones with room to spare, as the
    /// chunks of a stream come in all lengths; none that take more than a forward may.
    async fn take_workspace(&mut self, task: Task, wait: Wait) -> Result<Workspace> {
        let model = &self.model;
        // A call that is refused here leaves the buffers for the next.
        let plan = model.plan(task)?;
        let allowed = |capacity: &BufferBytes| plan.device_bytes_in(capacity) <= model.forward_memory();
        let exact = plan.bytes;
        let mut capacity = exact;
        if let Some(mut kept) = self.workspace.take().filter(|kept| allowed(&kept.capacity)) {
            if kept.plan == plan {
                return Ok(kept);
            }
            capacity = exact.max(kept.capacity);
            if capacity == kept.capacity {
                kept.reshape(&model.context.gpu, plan, wait).await?;
                return Ok(kept);
            }
        }
        let extents = Extents {
            time_steps: task.extents.time_steps.next_power_of_two(),
            batch: task.extents.batch.next_power_of_two().min(task.state_arrays.rows),
            ..task.extents
        };
        if let Ok(roomy) = model.plan(Task { extents, ..task }) {
            capacity = capacity.max(roomy.bytes);
        }
        if !allowed(&capacity) {
            capacity = exact;
        }
        let make = |capacity| {
            let states = self.states.clone();
            Workspace::new(&model.context, plan.clone(), capacity, &model.weights, states, self.wanted, wait)
        };
        match make(capacity).await {
            // Room to spare is not worth an error.
            Err(Error::Limit { .. } | Error::OutOfMemory { .. }) if capacity != exact => make(exact).await,
            made => made,
        }
    }

    /// Where h of a call's rows lies, in bytes: what a push has to copy to where it is read. Rows that follow each other are
    /// one copy; where they are many and scattered, all of h is.
    fn h_of_call(&self, call: &Call) -> Vec<Range<u64>> {
        let mut rows: Vec<usize> = (0..call.extents().batch).map(|b| call.state_row(b)).collect();
        rows.sort_unstable();
        let runs: Vec<Range<usize>> = rows.chunk_by(|a, b| a + 1 == *b).map(|run| run[0]..run[0] + run.len()).collect();
        let all = 0..self.state_arrays.rows;
        let runs = if runs.len() > MOST_COPIES { std::iter::once(all).collect() } else { runs };
        self.regions(&runs).next().unwrap_or_default()
    }

    /// The states of some rows, one range behind the other: each `[L·D, rows, ·]`. One readback.
    pub(crate) async fn read<F: Real>(&self, rows: &[Range<usize>], wait: Wait) -> Result<Vec<Vec<F>>> {
        use wgpu::BufferUsages as Use;
        let gpu = &self.model.context.gpu;
        let copies: Vec<_> = self.regions(rows).collect();
        let sizes: Vec<u64> = copies.iter().map(|regions| regions.iter().map(|r| r.end - r.start).sum()).collect();
        let bytes = sizes.iter().sum();
        self.model.context.limits.buffer("the readback of states", bytes)?;
        let copied = gpu.scoped("reading states", || {
            let staging = transfer::buffer(&gpu.device, "states", bytes, Use::MAP_READ | Use::COPY_DST);
            let label = Some("wgpu-rnn states");
            let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
            let mut at = 0;
            for (state, regions) in self.states.all().zip(&copies) {
                for Range { start, end } in regions {
                    encoder.copy_buffer_to_buffer(state, *start, &staging, at, end - start);
                    at += end - start;
                }
            }
            (gpu.queue.submit([encoder.finish()]), staging)
        });
        let (submission, staging) = copied.await?;
        transfer::read_back(gpu, &staging, submission, wait, &sizes).await
    }

    /// Sets the states of some rows, one range behind the other: each `[L·D, rows, ·]`; zeros if `None`. One submission for each array.
    pub(crate) async fn write<F: Real>(
        &mut self,
        rows: &[Range<usize>],
        states: Option<&[&[F]]>,
        wait: Wait,
    ) -> Result<()> {
        let (gpu, during) = (&self.model.context.gpu, "setting states");
        for (s, (state, regions)) in self.states.all().zip(self.regions(rows)).enumerate() {
            let staging = match states {
                Some(states) => Some(self.staged(bytemuck::cast_slice(states[s]), wait).await?),
                None => None,
            };
            let set = || {
                let label = Some("wgpu-rnn states");
                let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
                let mut at = 0;
                for Range { start, end } in regions {
                    match &staging {
                        Some(staging) => encoder.copy_buffer_to_buffer(staging, at, state, start, end - start),
                        None => encoder.clear_buffer(state, start, Some(end - start)),
                    }
                    at += end - start;
                }
                gpu.queue.submit([encoder.finish()])
            };
            gpu.scoped(during, set).await?;
        }
        Ok(())
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

    /// Makes room for `count` rows; those that are there keep their states, new ones have zeros.
    pub(crate) async fn grow(&mut self, count: usize) -> Result<()> {
        let gpu = &self.model.context.gpu;
        // The buffers of calls go before those of more rows come.
        self.workspace = None;
        let state_arrays = StateArrays { rows: count, ..self.state_arrays };
        let reads_output = self.wanted == Wanted::Output;
        let grown = Self::with_strategy(&self.model, state_arrays, self.strategy, reads_output).await?;
        let old = 0..self.state_arrays.rows;
        let copied = gpu.scoped("making room for states", || {
            let label = Some("wgpu-rnn states");
            let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
            let places = self.regions(from_ref(&old)).zip(grown.regions(from_ref(&old)));
            for ((from, to), (sources, targets)) in self.states.all().zip(grown.states.all()).zip(places) {
                for (source, target) in sources.into_iter().zip(targets) {
                    encoder.copy_buffer_to_buffer(from, source.start, to, target.start, source.end - source.start);
                }
            }
            gpu.queue.submit([encoder.finish()])
        });
        copied.await?;
        *self = grown;
        Ok(())
    }

    /// Where some rows lie in each state's buffer, in bytes: for each layer and direction a place for each range.
    fn regions(&self, rows: &[Range<usize>]) -> impl Iterator<Item = Vec<Range<u64>>> {
        let (config, count) = (&self.model.config, self.state_arrays.rows);
        (0..config.cell.states().len()).map(move |state| {
            let row_bytes = config.state_size(state) * size_of::<f32>();
            let at = |layer: usize, row: usize| ((layer * count + row) * row_bytes) as u64;
            let layers = 0..config.layers_and_directions();
            layers.flat_map(|layer| rows.iter().map(move |r| at(layer, r.start)..at(layer, r.end))).collect()
        })
    }
}
