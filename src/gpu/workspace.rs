//! The buffers of a forward, and everything bound to them: made once, used for every call that they fit.

use std::ops::Range;
use std::sync::Arc;

use crate::call::Call;
use crate::gpu::Wait;
use crate::gpu::context::Context;
use crate::gpu::exec;
use crate::gpu::guarded::GuardedDevice;
use crate::gpu::kernels;
use crate::gpu::pipeline::{Constants, Pipeline, PipelineKey};
use crate::gpu::transfer::{self, buffer};
use crate::gpu::weights::LayerBuffers;
use crate::plan::Plan;
use crate::plan::bytes::BufferBytes;
use crate::plan::kernel::{Kernel, Role};
use crate::plan::strategy::Recurrence;
use crate::{Real, Result};

/// What kernels need between input and output, whoever owns those.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    gx: wgpu::Buffer,
    /// The outputs of the layers below the last, in turn; in a wave one, of all layers.
    pub(super) between: Vec<wgpu::Buffer>,
    /// h before and after a step, in turn: workgroups that are done write the one while others still read the other. The initial h
    /// is in the first half.
    pub(crate) h: wgpu::Buffer,
    /// h before its projection, where there is one.
    raw: Option<wgpu::Buffer>,
    params: wgpu::Buffer,
    /// What the call says.
    pub(crate) call: wgpu::Buffer,
}

impl Scratch {
    /// Buffers of `capacity`, which is at least what the plan needs.
    pub(crate) async fn new(gpu: &GuardedDevice, plan: &Plan, capacity: &BufferBytes, wait: Wait) -> Result<Self> {
        use wgpu::BufferUsages as Use;
        let device = &gpu.device;
        let scratch = gpu
            .scoped("creating the scratch buffers", || Self {
                gx: buffer(device, "gx", capacity.gx, Use::STORAGE),
                between: (0..plan.between_count())
                    .map(|_| buffer(device, "between layers", capacity.between, Use::STORAGE | Use::COPY_SRC))
                    .collect(),
                h: buffer(device, "h", 2 * capacity.h, Use::STORAGE | Use::COPY_DST),
                raw: plan.config.is_projected().then(|| buffer(device, "raw", capacity.raw, Use::STORAGE)),
                params: buffer(device, "parameters", capacity.params, Use::UNIFORM | Use::COPY_DST),
                call: buffer(device, "call", capacity.call, Use::STORAGE | Use::COPY_DST),
            })
            .await?;
        scratch.fill_params(gpu, plan, wait).await?;
        Ok(scratch)
    }

    /// The same buffers but for one of its own that holds what `call` says.
    pub(crate) async fn with_call(&self, gpu: &GuardedDevice, call: &Call) -> Result<Self> {
        let words = call.words();
        let make = || transfer::filled_buffer(&gpu.device, "call", bytemuck::cast_slice(&words));
        let own = gpu.scoped("creating the scratch buffers", make).await?;
        let own = own.map_err(|error| gpu.lost_error("creating the scratch buffers", error.to_string()))?;
        Ok(Self { call: own, ..self.clone() })
    }

    async fn fill_params(&self, gpu: &GuardedDevice, plan: &Plan, wait: Wait) -> Result<()> {
        transfer::upload(gpu, &self.params, 0, &plan.filled_params(), wait).await
    }
}

/// The arrays that a cell carries from step to step, on the device.
#[derive(Clone, Debug)]
pub(crate) struct States {
    pub(crate) h: wgpu::Buffer,
    /// c of an LSTM; the kernel updates it in place.
    pub(crate) carried: Vec<wgpu::Buffer>,
}

impl States {
    /// Zeros, as wgpu makes every buffer.
    pub(crate) async fn new(gpu: &GuardedDevice, plan: &Plan) -> Result<Self> {
        use wgpu::BufferUsages as Use;
        let state =
            |name: &str, bytes: u64| buffer(&gpu.device, name, bytes, Use::STORAGE | Use::COPY_DST | Use::COPY_SRC);
        gpu.scoped("creating the buffers of the states", || Self {
            h: state("h_n", plan.bytes.h),
            carried: plan.config.cell.states()[1..].iter().map(|s| state(s.last, plan.bytes.carried)).collect(),
        })
        .await
    }

    /// h first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &wgpu::Buffer> {
        std::iter::once(&self.h).chain(&self.carried)
    }
}

/// Input, output and last states of a forward on the device.
#[derive(Clone, Debug)]
pub(crate) struct Io {
    pub(crate) input: wgpu::Buffer,
    pub(crate) output: wgpu::Buffer,
    pub(crate) last: States,
}

/// A plan with pipelines and bind groups: ready to record.
#[derive(Debug)]
pub(crate) struct Bound {
    /// In the order of [`Plan::kernels`].
    kernels: Vec<BoundKernel>,
}

/// A kernel with all that it binds.
#[derive(Debug)]
pub(crate) struct BoundKernel {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) params: wgpu::BindGroup,
    /// One a layer, or one for all of them in a wave.
    pub(crate) layers: Vec<wgpu::BindGroup>,
}

impl Bound {
    pub(crate) async fn new(
        context: &Context,
        plan: &Plan,
        weights: &[LayerBuffers],
        scratch: &Scratch,
        io: &Io,
        sizes: &BufferBytes,
    ) -> Result<Self> {
        let projected = plan.config.is_projected();
        let mut kernels = Vec::new();
        let precision = LayerBuffers::precision_of(weights);
        for kernel in plan.kernels() {
            let constants = match (kernel.role(), plan.choice.recurrence) {
                (Role::InputProduct, _) => {
                    Constants::Project { tile: plan.choice.input_product, dropout: plan.task.dropout }
                }
                (Role::Recurrence, Recurrence::Steps(tile) | Recurrence::Wavefront(tile)) => {
                    Constants::Step { tile, projected }
                }
                (Role::Recurrence, Recurrence::Sequence(tile)) => Constants::Sequence(tile),
                (Role::Projection, _) => Constants::None,
            };
            let wave = kernel.role() == Role::Recurrence && plan.choice.recurrence.is_wave();
            let key = PipelineKey { kernel, cell: plan.config.cell, precision, wave, constants };
            let pipeline = context.pipelines.get(&context.gpu, key).await?;
            let bind = || {
                let device = &context.gpu.device;
                let params = pipeline.bind_params(device, kernel, wave, &scratch.params, &scratch.call);
                let of_layer = |(layer, weights)| {
                    pipeline
                        .bind_storage(device, layer_buffers(kernel.role(), plan, layer, weights, scratch, io, sizes))
                };
                // In a wave one group serves all layers.
                let layers =
                    weights.iter().take(if wave { 1 } else { weights.len() }).enumerate().map(of_layer).collect();
                BoundKernel { pipeline: Arc::clone(&pipeline), params, layers }
            };
            kernels.push(context.gpu.scoped("binding buffers", bind).await?);
        }
        Ok(Self { kernels })
    }

    pub(crate) fn kernel(&self, kernel: Kernel) -> &BoundKernel {
        let at = match kernel.role() {
            Role::InputProduct => 0,
            Role::Recurrence => 1,
            Role::Projection => 2,
        };
        &self.kernels[at]
    }
}

/// The storage buffers of a role's kernels in a layer, in the order of their bindings.
fn layer_buffers<'a>(
    role: Role,
    plan: &Plan,
    layer: usize,
    weights: &'a LayerBuffers,
    scratch: &'a Scratch,
    io: &'a Io,
    sizes: &BufferBytes,
) -> Vec<wgpu::BufferBinding<'a>> {
    let whole = wgpu::Buffer::as_entire_buffer_binding;
    let last = plan.config.num_layers - 1;
    // A caller's buffer may be larger than a binding may be; only what is needed of it is bound.
    let stacked = plan.choice.recurrence.is_wave();
    let x = match layer {
        0 => part(&io.input, sizes.input),
        _ => whole(&scratch.between[(layer - 1) % scratch.between.len()]),
    };
    let y = if layer == last && !stacked {
        part(&io.output, sizes.output)
    } else {
        whole(&scratch.between[layer % scratch.between.len()])
    };
    let h_n = part(&io.last.h, sizes.h);
    match (role, &scratch.raw, &weights.w_hr) {
        (Role::Projection, raw, w_hr) => {
            // A plan that projects makes both.
            let (Some(raw), Some(w_hr)) = (raw, w_hr) else { return Vec::new() };
            let (raw, w_hr, h) = (whole(raw), w_hr.binding(), whole(&scratch.h));
            kernels::shrink::Buffers { raw, w_hr, h, y, h_n }.in_order()
        }
        (Role::InputProduct, ..) => {
            let (w_ih, b_ih, gx) = (weights.w_ih.binding(), weights.b_ih.binding(), whole(&scratch.gx));
            kernels::project::Buffers { x, w_ih, b_ih, gx }.in_order()
        }
        (Role::Recurrence, raw, _) => kernels::recurrence::Buffers {
            gx: whole(&scratch.gx),
            w_hh: if stacked { whole(&weights.w_hh.buffer) } else { weights.w_hh.binding() },
            b_hh: if stacked { whole(&weights.b_hh.buffer) } else { weights.b_hh.binding() },
            h: whole(&scratch.h),
            y,
            h_out: raw.as_ref().map_or(h_n, whole),
            carried: io.last.carried.iter().map(|state| part(state, sizes.carried)).collect(),
        }
        .in_order(),
    }
}

fn part(buffer: &wgpu::Buffer, bytes: u64) -> wgpu::BufferBinding<'_> {
    wgpu::BufferBinding { buffer, offset: 0, size: std::num::NonZeroU64::new(bytes) }
}

/// What a call reads back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Nothing,
    Output,
    OutputAndStates,
}

/// All that a forward with host input and output uses. A session gives it another shape from call to call.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) plan: Plan,
    /// The sizes of the buffers; at least what the plan needs.
    pub(crate) capacity: BufferBytes,
    pub(crate) scratch: Scratch,
    pub(crate) io: Io,
    pub(crate) bound: Bound,
    /// Results, mapped for the host: one readback.
    pub(crate) staging: wgpu::Buffer,
    wanted: Wanted,
    /// What `scratch.call` holds; empty while that is not known.
    call_words: Vec<u32>,
    /// Where each submission ends, in dispatches from the start.
    pub(crate) submission_ends: Vec<usize>,
}

impl Workspace {
    /// Buffers of `capacity`, which is at least what the plan needs.
    pub(crate) async fn new(
        context: &Context,
        plan: Plan,
        capacity: BufferBytes,
        weights: &[LayerBuffers],
        states: States,
        wanted: Wanted,
        wait: Wait,
    ) -> Result<Self> {
        use wgpu::BufferUsages as Use;
        let readback = match wanted {
            // A buffer of no bytes cannot be.
            Wanted::Nothing => wgpu::COPY_BUFFER_ALIGNMENT,
            Wanted::Output => capacity.output,
            Wanted::OutputAndStates => plan.readback_bytes(&capacity),
        };
        context.limits.buffer("the readback", readback)?;
        let scratch = Scratch::new(&context.gpu, &plan, &capacity, wait).await?;
        let device = &context.gpu.device;
        let make = || {
            let input = buffer(device, "input", capacity.input, Use::STORAGE | Use::COPY_DST);
            let output = buffer(device, "output", capacity.output, Use::STORAGE | Use::COPY_SRC);
            let io = Io { input, output, last: states };
            (io, buffer(device, "readback", readback, Use::MAP_READ | Use::COPY_DST))
        };
        let (io, staging) = context.gpu.scoped("creating the buffers of a forward", make).await?;
        let bound = Bound::new(context, &plan, weights, &scratch, &io, &capacity).await?;
        let submission_ends = plan.submission_ends();
        Ok(Self { plan, capacity, scratch, io, bound, staging, wanted, call_words: Vec::new(), submission_ends })
    }

    /// Puts input and call where the kernels read them. Calls that follow each other mostly say the same.
    pub(crate) async fn upload<F: Real>(
        &mut self,
        gpu: &GuardedDevice,
        input: &[F],
        call: &Call,
        wait: Wait,
    ) -> Result<()> {
        transfer::upload(gpu, &self.io.input, 0, bytemuck::cast_slice(input), wait).await?;
        let words = call.words();
        if words != self.call_words {
            self.call_words.clear();
            transfer::upload(gpu, &self.scratch.call, 0, bytemuck::cast_slice(&words), wait).await?;
            self.call_words = words;
        }
        Ok(())
    }

    /// Puts initial states, each `[L·D, B, ·]`, where the kernels read them.
    pub(crate) async fn upload_states<F: Real>(&self, gpu: &GuardedDevice, states: &[&[F]], wait: Wait) -> Result<()> {
        let (plan, layers) = (&self.plan, self.plan.config.num_layers);
        for (s, (target, &state)) in exec::initial_targets(&self.scratch, &self.io).zip(states).enumerate() {
            if s == 0 || !plan.task.all_states {
                transfer::upload(gpu, target, 0, bytemuck::cast_slice(state), wait).await?;
                continue;
            }
            // Behind each layer's initial c, there is room for that of every step.
            for (layer, state) in state.chunks_exact(state.len() / layers).enumerate() {
                let offset = (plan.c_offset(layer) * size_of::<f32>()) as u64;
                transfer::upload(gpu, target, offset, bytemuck::cast_slice(state), wait).await?;
            }
        }
        Ok(())
    }

    /// What a call reads back, and where: output and states, and where the states of every step are wanted the outputs of the
    /// layers below the last.
    pub(crate) fn results(&self) -> Vec<(&wgpu::Buffer, Range<u64>)> {
        let Self { plan, scratch, io, .. } = self;
        let bytes = plan.bytes.output;
        let of_layer = |layer: usize| match plan.stacked_output(layer) {
            Some(at) => (&scratch.between[0], at..at + bytes),
            None if layer + 1 == plan.config.num_layers => (&io.output, 0..bytes),
            None => (&scratch.between[layer], 0..bytes),
        };
        let last = plan.config.num_layers - 1;
        let output = plan.task.reads_output.then(|| of_layer(last)).into_iter();
        match self.wanted {
            Wanted::Nothing => return Vec::new(),
            Wanted::Output => return output.collect(),
            Wanted::OutputAndStates => {}
        }
        let states = io.last.all().zip(plan.bytes.states(&plan.config).map(|bytes| 0..bytes));
        let below = if plan.task.all_states { last } else { 0 };
        output.chain(states).chain((0..below).map(of_layer)).collect()
    }

    /// The results, once `submission` has left them in the staging buffer.
    pub(crate) async fn read_back<F: Real>(
        &self,
        gpu: &GuardedDevice,
        submission: wgpu::SubmissionIndex,
        wait: Wait,
    ) -> Result<Vec<Vec<F>>> {
        let sizes: Vec<u64> = self.results().into_iter().map(|(_, place)| place.end - place.start).collect();
        transfer::read_back(gpu, &self.staging, submission, wait, &sizes).await
    }

    /// Takes over a plan of another shape, which the buffers must be large enough for.
    pub(crate) async fn reshape(&mut self, gpu: &GuardedDevice, plan: Plan, wait: Wait) -> Result<()> {
        self.scratch.fill_params(gpu, &plan, wait).await?;
        self.submission_ends = plan.submission_ends();
        self.plan = plan;
        Ok(())
    }
}
