//! The buffers of a forward of one shape, and everything bound to them. Made once, used for every call of that shape.

use std::sync::Arc;

use crate::Result;
use crate::gpu::Wait;
use crate::gpu::context::Context;
use crate::gpu::guarded::GuardedDevice;
use crate::gpu::kernels;
use crate::gpu::pipeline::{Pipeline, PipelineKey};
use crate::gpu::transfer::{self, buffer};
use crate::gpu::weights::LayerBuffers;
use crate::plan::{Kernel, Plan};

/// What kernels need between input and output, whoever owns those.
#[derive(Debug)]
pub(crate) struct Scratch {
    gx: wgpu::Buffer,
    /// The outputs of the layers below the last, in turn.
    between: Vec<wgpu::Buffer>,
    /// The initial h, apart from the last h: workgroups that are done write the one while others still read the other.
    pub(crate) h_0: wgpu::Buffer,
    params: wgpu::Buffer,
    /// Lengths and padding value of the rows.
    pub(crate) rows: wgpu::Buffer,
}

impl Scratch {
    pub(crate) async fn new(gpu: &GuardedDevice, plan: &Plan, wait: Wait) -> Result<Self> {
        use wgpu::BufferUsages as Use;
        let device = &gpu.device;
        let between = plan.config.num_layers.saturating_sub(1).min(2);
        let scratch = gpu
            .scoped("creating the scratch buffers", || Self {
                gx: buffer(device, "gx", plan.bytes.gx, Use::STORAGE),
                between: (0..between)
                    .map(|_| buffer(device, "between layers", plan.bytes.between, Use::STORAGE))
                    .collect(),
                h_0: buffer(device, "h_0", plan.bytes.state, Use::STORAGE | Use::COPY_DST),
                params: buffer(device, "parameters", plan.bytes.params, Use::UNIFORM | Use::COPY_DST),
                rows: buffer(device, "rows", plan.bytes.rows, Use::STORAGE | Use::COPY_DST),
            })
            .await?;
        transfer::upload(gpu, &scratch.params, &plan.params.fill(plan.chunk_params()), wait).await?;
        Ok(scratch)
    }
}

/// Input, output and states of a forward on the device; `states` are h_n and what else the cell carries.
#[derive(Clone, Debug)]
pub(crate) struct Io {
    pub(crate) input: wgpu::Buffer,
    pub(crate) output: wgpu::Buffer,
    pub(crate) states: Vec<wgpu::Buffer>,
}

/// A plan with pipelines and bind groups: ready to record.
#[derive(Debug)]
pub(crate) struct Bound {
    project: Arc<Pipeline>,
    step: Arc<Pipeline>,
    project_params: wgpu::BindGroup,
    step_params: wgpu::BindGroup,
    layers: Vec<LayerBindings>,
}

#[derive(Debug)]
struct LayerBindings {
    project: wgpu::BindGroup,
    step: wgpu::BindGroup,
}

impl Bound {
    pub(crate) async fn new(
        context: &Context,
        plan: &Plan,
        weights: &[LayerBuffers],
        scratch: &Scratch,
        io: &Io,
    ) -> Result<Self> {
        let cell = plan.config.cell;
        let project_key = PipelineKey { kernel: Kernel::Project, cell, tile: None };
        let step_key = PipelineKey { kernel: Kernel::Step, cell, tile: Some(plan.step_tile) };
        let project = context.pipelines.get(&context.gpu, project_key).await?;
        let step = context.pipelines.get(&context.gpu, step_key).await?;
        context
            .gpu
            .scoped("binding buffers", || {
                let device = &context.gpu.device;
                let project_params = project.bind_params(device, Kernel::Project, &scratch.params, &scratch.rows);
                let step_params = step.bind_params(device, Kernel::Step, &scratch.params, &scratch.rows);
                let bind = |(layer, weights)| bind_layer(device, plan, layer, weights, scratch, io, &project, &step);
                let layers = weights.iter().enumerate().map(bind).collect();
                Self { project: Arc::clone(&project), step: Arc::clone(&step), project_params, step_params, layers }
            })
            .await
    }

    pub(crate) fn pipeline(&self, kernel: Kernel) -> &wgpu::ComputePipeline {
        match kernel {
            Kernel::Project => &self.project.pipeline,
            Kernel::Step => &self.step.pipeline,
        }
    }

    pub(crate) fn buffers(&self, kernel: Kernel, layer: usize) -> &wgpu::BindGroup {
        match kernel {
            Kernel::Project => &self.layers[layer].project,
            Kernel::Step => &self.layers[layer].step,
        }
    }

    pub(crate) fn params(&self, kernel: Kernel) -> &wgpu::BindGroup {
        match kernel {
            Kernel::Project => &self.project_params,
            Kernel::Step => &self.step_params,
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "the one place where all buffers of a layer come together")]
fn bind_layer(
    device: &wgpu::Device,
    plan: &Plan,
    layer: usize,
    weights: &LayerBuffers,
    scratch: &Scratch,
    io: &Io,
    project: &Pipeline,
    step: &Pipeline,
) -> LayerBindings {
    let whole = wgpu::Buffer::as_entire_buffer_binding;
    let last = plan.config.num_layers - 1;
    // A caller's buffer may be larger than a binding may be; only what the plan needs of it is bound.
    let x = if layer == 0 { part(&io.input, plan.bytes.input) } else { whole(&scratch.between[(layer - 1) % 2]) };
    let y = if layer == last { part(&io.output, plan.bytes.output) } else { whole(&scratch.between[layer % 2]) };
    let mut states = io.states.iter().map(|state| part(state, plan.bytes.state));
    let h_n = states.next().unwrap_or_else(|| whole(&scratch.h_0));
    let project_buffers =
        kernels::project::Buffers { x, w_ih: whole(&weights.w_ih), b_ih: whole(&weights.b_ih), gx: whole(&scratch.gx) };
    let step_buffers = kernels::step::Buffers {
        gx: whole(&scratch.gx),
        w_hh: whole(&weights.w_hh),
        b_hh: whole(&weights.b_hh),
        h_0: whole(&scratch.h_0),
        y,
        h_n,
        carried: states.collect(),
    };
    LayerBindings {
        project: project.bind_storage(device, project_buffers.in_order()),
        step: step.bind_storage(device, step_buffers.in_order()),
    }
}

fn part(buffer: &wgpu::Buffer, bytes: u64) -> wgpu::BufferBinding<'_> {
    wgpu::BufferBinding { buffer, offset: 0, size: std::num::NonZeroU64::new(bytes) }
}

/// All that a forward with host input and output uses.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) plan: Plan,
    pub(crate) scratch: Scratch,
    pub(crate) io: Io,
    pub(crate) bound: Bound,
    /// Output and states, mapped for the host: one readback.
    pub(crate) staging: wgpu::Buffer,
}

impl Workspace {
    pub(crate) async fn new(context: &Context, plan: Plan, weights: &[LayerBuffers], wait: Wait) -> Result<Self> {
        use wgpu::BufferUsages as Use;
        context.limits.buffer("the readback of output and states", plan.bytes.readback(&plan.config))?;
        let scratch = Scratch::new(&context.gpu, &plan, wait).await?;
        let device = &context.gpu.device;
        let (io, staging) = context
            .gpu
            .scoped("creating the buffers of a forward", || {
                let state =
                    |name: &str| buffer(device, name, plan.bytes.state, Use::STORAGE | Use::COPY_DST | Use::COPY_SRC);
                let io = Io {
                    input: buffer(device, "input", plan.bytes.input, Use::STORAGE | Use::COPY_DST),
                    output: buffer(device, "output", plan.bytes.output, Use::STORAGE | Use::COPY_SRC),
                    states: plan.config.cell.states().iter().map(|s| state(s.last)).collect(),
                };
                let bytes = plan.bytes.readback(&plan.config);
                (io, buffer(device, "readback", bytes, Use::MAP_READ | Use::COPY_DST))
            })
            .await?;
        let bound = Bound::new(context, &plan, weights, &scratch, &io).await?;
        Ok(Self { plan, scratch, io, bound, staging })
    }
}
