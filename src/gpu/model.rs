//! A model on a GPU: packed weights, and the buffers of the shapes that it was used with.

use std::sync::{Arc, Mutex, PoisonError};

use crate::config::RecurrentConfig;
use crate::cpu::Computed;
use crate::gpu::Wait;
use crate::gpu::context::Context;
use crate::gpu::exec;
use crate::gpu::kernels;
use crate::gpu::transfer;
use crate::gpu::weights::LayerBuffers;
use crate::gpu::workspace::{Bound, Io, Scratch, Workspace};
use crate::plan::Plan;
use crate::rows::Rows;
use crate::sequence::Sequence;
use crate::weights::LayerWeights;
use crate::{Error, Real, Result};

/// How many sets of buffers a model keeps for calls to come; the one unused longest goes first.
const KEPT_SETS: usize = 4;

#[derive(Debug)]
pub(crate) struct GpuModel {
    context: Arc<Context>,
    config: RecurrentConfig,
    weights: Vec<LayerBuffers>,
    /// Workspaces that no call is using. A call takes one out, so calls from several threads never share one.
    idle: Mutex<Vec<Workspace>>,
    /// Scratch of `encode`. Recorded work may run any time later; it is shared by all recordings of a shape, as a queue runs
    /// them one after the other and none leaves anything in it for the next.
    encode_scratch: Mutex<Vec<Arc<(Plan, Scratch)>>>,
}

/// A caller's device buffers, checked.
pub(crate) struct EncodeIo<'a> {
    pub(crate) io: Io,
    /// The initial states, h first; zeros if `None`.
    pub(crate) initial: Option<Vec<&'a wgpu::Buffer>>,
}

impl GpuModel {
    pub(crate) async fn place<F: Real>(
        context: &Arc<Context>,
        config: &RecurrentConfig,
        layers: &[LayerWeights<F>],
        wait: Wait,
    ) -> Result<Self> {
        if size_of::<F>() != size_of::<f32>() {
            return Err(Error::Unsupported {
                what: format!("a model of {} on a GPU", F::NAME),
                why: "WGSL has no f64; load it as f32, or place it on the CPU".to_owned(),
            });
        }
        kernels::check_limits(config, &context.gpu.device.limits())?;
        for layer in 0..config.num_layers {
            LayerBuffers::check(context, config, layer)?;
        }
        let mut weights = Vec::with_capacity(config.num_layers);
        for (layer, directions) in layers.chunks_exact(config.directions()).enumerate() {
            weights.push(LayerBuffers::place(context, config, layer, directions, wait).await?);
        }
        Ok(Self {
            context: Arc::clone(context),
            config: config.clone(),
            weights,
            idle: Mutex::default(),
            encode_scratch: Mutex::default(),
        })
    }

    pub(crate) fn plan(&self, sequence: Sequence) -> Result<Plan> {
        Plan::new(&self.config, sequence, &self.context.limits)
    }

    /// `input` and `states` have the shapes that `sequence` stands for, which is not empty.
    pub(crate) async fn forward<F: Real>(
        &self,
        sequence: Sequence,
        rows: &Rows,
        input: &[F],
        states: Option<&[&[F]]>,
        wait: Wait,
    ) -> Result<Computed<F>> {
        let context = &*self.context;
        context.gpu.check_alive("starting a forward")?;
        let workspace = match take(&self.idle, |workspace| workspace.plan.sequence == sequence) {
            Some(workspace) => workspace,
            None => self.new_workspace(sequence, wait).await?,
        };
        transfer::upload(&context.gpu, &workspace.io.input, bytemuck::cast_slice(input), wait).await?;
        transfer::upload(&context.gpu, &workspace.scratch.rows, bytemuck::cast_slice(&rows.words()), wait).await?;
        for (s, target) in initial_targets(&workspace.scratch, &workspace.io).into_iter().enumerate() {
            if let Some(states) = states {
                transfer::upload(&context.gpu, target, bytemuck::cast_slice(states[s]), wait).await?;
            }
        }
        let submission = self.submit(&workspace, states.is_none(), wait).await?;
        let split = |bytes: &[u8]| split_readback(&workspace.plan, bytes);
        let computed = transfer::read_back(&context.gpu, &workspace.staging, submission, wait, split).await?;
        keep(&self.idle, workspace);
        Ok(computed)
    }

    /// Buffers for a new shape. Those that are kept for other shapes must not be why there is no memory for them.
    async fn new_workspace(&self, sequence: Sequence, wait: Wait) -> Result<Workspace> {
        let make = || async { Workspace::new(&self.context, self.plan(sequence)?, &self.weights, wait).await };
        match make().await {
            Err(Error::OutOfMemory { .. }) if !lock(&self.idle).is_empty() => {
                lock(&self.idle).clear();
                make().await
            }
            made => made,
        }
    }

    /// Submits a forward, in parts where it is long; at most two parts are in flight.
    async fn submit(&self, workspace: &Workspace, zero_state: bool, wait: Wait) -> Result<wgpu::SubmissionIndex> {
        let (gpu, during) = (&self.context.gpu, "running a forward");
        let Workspace { plan, scratch, io, bound, staging, submission_ends } = workspace;
        let (mut start, mut newest, mut previous) = (0, None, None);
        for (part, &end) in submission_ends.iter().enumerate() {
            if let Some(previous) = previous.take() {
                gpu.until_done(previous, wait, during).await?;
            }
            let index = gpu
                .scoped(during, || {
                    let mut encoder = gpu
                        .device
                        .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("wgpu-rnn forward") });
                    if part == 0 && zero_state {
                        initial_targets(scratch, io).into_iter().for_each(|state| encoder.clear_buffer(state, 0, None));
                    }
                    exec::record(&mut encoder, plan, bound, start..end);
                    if end == plan.dispatch_count() {
                        copy_readback(&mut encoder, plan, io, staging);
                    }
                    gpu.queue.submit([encoder.finish()])
                })
                .await?;
            previous = newest.replace(index);
            start = end;
        }
        newest.ok_or_else(|| Error::Gpu { during, message: "nothing was submitted".to_owned() })
    }

    /// Records a forward over the caller's buffers.
    pub(crate) async fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        sequence: Sequence,
        buffers: &EncodeIo<'_>,
        wait: Wait,
    ) -> Result<()> {
        let context = &*self.context;
        let initial = buffers.initial.as_deref();
        if sequence.is_empty() {
            let plan = self.plan(sequence)?;
            let states: Vec<_> = buffers.io.states().collect();
            let copy = || record_initial(encoder, initial, &states, &plan);
            return context.gpu.scoped("recording a forward of no steps", copy).await;
        }
        let shared = self.encode_scratch(sequence, wait).await?;
        let (plan, scratch) = &*shared;
        // Everything that can fail comes before the first command.
        let bound = Bound::new(context, plan, &self.weights, scratch, &buffers.io).await?;
        let record = || {
            record_initial(encoder, initial, &initial_targets(scratch, &buffers.io), plan);
            exec::record(encoder, plan, &bound, 0..plan.dispatch_count());
        };
        context.gpu.scoped("recording a forward", record).await
    }

    async fn encode_scratch(&self, sequence: Sequence, wait: Wait) -> Result<Arc<(Plan, Scratch)>> {
        let found = take(&self.encode_scratch, |shared| shared.0.sequence == sequence);
        let shared = match found {
            Some(shared) => shared,
            None => {
                let plan = self.plan(sequence)?;
                let scratch = Scratch::new(&self.context.gpu, &plan, wait).await?;
                let words = Rows::new(&sequence, None, 0.0)?.words();
                transfer::upload(&self.context.gpu, &scratch.rows, bytemuck::cast_slice(&words), wait).await?;
                Arc::new((plan, scratch))
            }
        };
        keep(&self.encode_scratch, Arc::clone(&shared));
        Ok(shared)
    }
}

/// Takes the first that fits out of a list.
fn take<T>(list: &Mutex<Vec<T>>, fits: impl FnMut(&T) -> bool) -> Option<T> {
    let mut list = lock(list);
    let at = list.iter().position(fits)?;
    Some(list.remove(at))
}

/// Adds to a list that keeps the newest few.
fn keep<T>(list: &Mutex<Vec<T>>, value: T) {
    let mut list = lock(list);
    if list.len() >= KEPT_SETS {
        list.remove(0);
    }
    list.push(value);
}

/// The lists are whole after every operation, so a panic of another thread does not spoil them.
fn lock<T>(list: &Mutex<Vec<T>>) -> std::sync::MutexGuard<'_, Vec<T>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the initial states go, h first: h into a buffer of its own, the others into the last states, which the kernel
/// updates in place.
fn initial_targets<'a>(scratch: &'a Scratch, io: &'a Io) -> Vec<&'a wgpu::Buffer> {
    std::iter::once(&scratch.h_0).chain(&io.carried).collect()
}

/// Puts the initial states, or zeros, where they are read.
fn record_initial(
    encoder: &mut wgpu::CommandEncoder,
    initial: Option<&[&wgpu::Buffer]>,
    targets: &[&wgpu::Buffer],
    plan: &Plan,
) {
    for ((s, &target), bytes) in targets.iter().enumerate().zip(plan.bytes.states(&plan.config)) {
        match initial.map(|initial| initial[s]) {
            // The state is there already.
            Some(initial) if initial == target => {}
            Some(initial) => encoder.copy_buffer_to_buffer(initial, 0, target, 0, bytes),
            None => encoder.clear_buffer(target, 0, Some(bytes)),
        }
    }
}

fn copy_readback(encoder: &mut wgpu::CommandEncoder, plan: &Plan, io: &Io, staging: &wgpu::Buffer) {
    encoder.copy_buffer_to_buffer(&io.output, 0, staging, 0, plan.bytes.output);
    let mut offset = plan.bytes.output;
    for (state, bytes) in io.states().zip(plan.bytes.states(&plan.config)) {
        encoder.copy_buffer_to_buffer(state, 0, staging, offset, bytes);
        offset += bytes;
    }
}

fn split_readback<F: Real>(plan: &Plan, bytes: &[u8]) -> Computed<F> {
    let numbers = bytemuck::pod_collect_to_vec::<u8, F>;
    let (output, mut rest) = bytes.split_at(plan.bytes.output as usize);
    let states = plan.bytes.states(&plan.config).map(|bytes| {
        let (state, behind) = rest.split_at(bytes as usize);
        rest = behind;
        numbers(state)
    });
    Computed { output: numbers(output), states: states.collect() }
}
