//! States that stay on the device from call to call.

use std::ops::Range;
use std::sync::Arc;

use crate::call::{Call, StateRows, Task};
use crate::gpu::Wait;
use crate::gpu::exec::{self, Initial};
use crate::gpu::model::GpuModel;
use crate::gpu::transfer;
use crate::gpu::workspace::{States, Workspace};
use crate::sequence::Sequence;
use crate::{Real, Result};

/// After so many calls that read nothing back, the device is waited for: a program that only pushes must not run ahead of it
/// without end.
const CALLS_IN_FLIGHT: usize = 64;

/// The states of many rows, and the buffers of the calls that move them on.
#[derive(Debug)]
pub(crate) struct GpuSession {
    model: Arc<GpuModel>,
    states: States,
    state_rows: StateRows,
    /// One set of buffers, which grows with the largest call. It is taken out for a call: one that is broken off leaves none.
    workspace: Option<Workspace>,
    in_flight: usize,
}

impl GpuSession {
    /// Zero states.
    pub(crate) async fn new(model: &Arc<GpuModel>, state_rows: StateRows) -> Result<Self> {
        // Any plan knows the sizes of the states.
        let task = Task { state_rows, ..Task::forward(Sequence::batched(&model.config, 1, 1)) };
        let plan = model.plan(task)?;
        let states = States::new(&model.context.gpu, &plan).await?;
        Ok(Self { model: Arc::clone(model), states, state_rows, workspace: None, in_flight: 0 })
    }

    pub(crate) fn is_of(&self, model: &Arc<GpuModel>) -> bool {
        Arc::ptr_eq(&self.model, model)
    }

    /// Moves the states of the call's rows on by a chunk that is not empty. The output is read back if asked for, and else empty.
    pub(crate) async fn push<F: Real>(
        &mut self,
        call: &Call,
        input: &[F],
        read_back: bool,
        wait: Wait,
    ) -> Result<Vec<F>> {
        let model = Arc::clone(&self.model);
        let gpu = &model.context.gpu;
        gpu.check_alive("pushing a chunk")?;
        let workspace = self.take_workspace(call.task, wait).await?;
        workspace.upload(gpu, input, call, wait).await?;
        let bytes = if read_back { workspace.plan.bytes.output } else { 0 };
        let results: &[_] = if read_back { &[(&workspace.io.output, bytes)] } else { &[] };
        let submission = exec::submit(gpu, &workspace, Initial::Last, results, wait).await?;
        let mut output = Vec::new();
        if read_back {
            output = transfer::read_back(gpu, &workspace.staging, submission, wait, &[bytes]).await?.concat();
            self.in_flight = 0;
        } else {
            self.in_flight += 1;
            if self.in_flight == CALLS_IN_FLIGHT {
                gpu.until_done(submission, wait, "pushing a chunk").await?;
                self.in_flight = 0;
            }
        }
        self.workspace = Some(workspace);
        Ok(output)
    }

    /// Buffers for a call: the ones that are there where they are large enough, else new ones with room to spare, as the
    /// chunks of a stream come in all lengths.
    async fn take_workspace(&mut self, task: Task, wait: Wait) -> Result<Workspace> {
        let model = &self.model;
        let plan = model.plan(task)?;
        let mut capacity = plan.bytes;
        if let Some(mut kept) = self.workspace.take() {
            if kept.plan.task == task {
                return Ok(kept);
            }
            capacity = capacity.max(kept.capacity);
            if capacity == kept.capacity {
                kept.reshape(&model.context.gpu, plan, wait).await?;
                return Ok(kept);
            }
        }
        let sequence = Sequence {
            time_steps: task.sequence.time_steps.next_power_of_two(),
            batch: task.sequence.batch.next_power_of_two().min(task.state_rows.count),
            ..task.sequence
        };
        // Room to spare is not worth an error.
        if let Ok(plan) = model.plan(Task { sequence, ..task }) {
            capacity = capacity.max(plan.bytes);
        }
        Workspace::new(&model.context, plan, capacity, &model.weights, self.states.clone(), wait).await
    }

    /// The states of a range of rows: each `[L·D, rows, ·]`.
    pub(crate) async fn read<F: Real>(&self, rows: Range<usize>, wait: Wait) -> Result<Vec<Vec<F>>> {
        use wgpu::BufferUsages as Use;
        let gpu = &self.model.context.gpu;
        let copies: Vec<_> = self.regions(rows).collect();
        let copied = gpu.scoped("reading states", || {
            let sizes: Vec<u64> = copies.iter().map(|regions| regions.iter().map(|r| r.end - r.start).sum()).collect();
            let bytes = sizes.iter().sum();
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
            (gpu.queue.submit([encoder.finish()]), staging, sizes)
        });
        let (submission, staging, sizes) = copied.await?;
        transfer::read_back(gpu, &staging, submission, wait, &sizes).await
    }

    /// Sets the states of a range of rows: each `[L·D, rows, ·]`; zeros if `None`.
    pub(crate) async fn write<F: Real>(
        &mut self,
        rows: Range<usize>,
        states: Option<&[&[F]]>,
        wait: Wait,
    ) -> Result<()> {
        let gpu = &self.model.context.gpu;
        for (s, (state, regions)) in self.states.all().zip(self.regions(rows)).enumerate() {
            let mut at = 0;
            for Range { start, end } in regions {
                let len = (end - start) as usize;
                let zeros;
                let bytes = match states {
                    Some(states) => &bytemuck::cast_slice(states[s])[at..at + len],
                    None => {
                        zeros = vec![0; len];
                        &zeros[..]
                    }
                };
                transfer::upload(gpu, state, start, bytes, wait).await?;
                at += len;
            }
        }
        Ok(())
    }

    /// Makes room for `count` rows; those that are there keep their states, new ones have zeros.
    pub(crate) async fn grow(&mut self, count: usize) -> Result<()> {
        let gpu = &self.model.context.gpu;
        let state_rows = StateRows { count, ..self.state_rows };
        let grown = Self::new(&self.model, state_rows).await?;
        let old = 0..self.state_rows.count;
        let copied = gpu.scoped("making room for states", || {
            let label = Some("wgpu-rnn states");
            let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
            let places = self.regions(old.clone()).zip(grown.regions(old));
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

    /// Where a range of rows lies in each state's buffer, in bytes: one place a layer and direction.
    fn regions(&self, rows: Range<usize>) -> impl Iterator<Item = Vec<Range<u64>>> {
        let (config, count) = (&self.model.config, self.state_rows.count);
        (0..config.cell.states().len()).map(move |state| {
            let row_bytes = config.state_size(state) * size_of::<f32>();
            let at = |layer: usize, row: usize| ((layer * count + row) * row_bytes) as u64;
            let layers = 0..config.num_layers * config.directions();
            layers.map(|layer| at(layer, rows.start)..at(layer, rows.end)).collect()
        })
    }
}
