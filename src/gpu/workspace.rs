//! The buffers of a forward of one shape, and everything bound to them. Made once, used for every call of that shape.

use std::sync::Arc;

use crate::Result;
use crate::gpu::Wait;
use crate::gpu::context::Context;
use crate::gpu::guarded::GuardedDevice;
use crate::gpu::kernels;
use crate::gpu::pipeline::{Pipeline, PipelineKey, StepConstants};
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
    /// h before its projection, where there is one.
    raw: Option<wgpu::Buffer>,
    params: wgpu::Buffer,
    /// Lengths and padding value of the rows.
    pub(crate) rows: wgpu::Buffer,
}

impl Scratch {
    pub(crate) async fn new(gpu: &GuardedDevice, plan: &Plan, wait: Wait) -> Result<Self> {
        use wgpu::BufferUsages as Use;
        let device = &gpu.device;
        let scratch = gpu
            .scoped("creating the scratch buffers", || Self {
                gx: buffer(device, "gx", plan.bytes.gx, Use::STORAGE),
                between: (0..plan.between_count())
                    .map(|_| buffer(device, "between layers", plan.bytes.between, Use::STORAGE))
                    .collect(),
                h_0: buffer(device, "h_0", plan.bytes.h, Use::STORAGE | Use::COPY_DST),
                raw: plan.config.is_projected().then(|| buffer(device, "raw", plan.bytes.raw, Use::STORAGE)),
                params: buffer(device, "parameters", plan.bytes.params, Use::UNIFORM | Use::COPY_DST),
                rows: buffer(device, "rows", plan.bytes.rows, Use::STORAGE | Use::COPY_DST),
            })
            .await?;
        transfer::upload(gpu, &scratch.params, &plan.params.fill(plan.chunk_params()), wait).await?;
        Ok(scratch)
    }
}

/// Input, output and last states of a forward on the device.
#[derive(Clone, Debug)]
pub(crate) struct Io {
    pub(crate) input: wgpu::Buffer,
    pub(crate) output: wgpu::Buffer,
    pub(crate) h_n: wgpu::Buffer,
    /// c of an LSTM; the kernel updates it in place.
    pub(crate) carried: Vec<wgpu::Buffer>,
}

impl Io {
    /// The last states, h first.
    pub(crate) fn states(&self) -> impl Iterator<Item = &wgpu::Buffer> {
        std::iter::once(&self.h_n).chain(&self.carried)
    }
}

/// A plan with pipelines and bind groups: ready to record.
#[derive(Debug)]
pub(crate) struct Bound {
    /// In the order of [`Kernel::of`], which is that of the enum.
    kernels: Vec<BoundKernel>,
}

/// A kernel with all that it binds.
#[derive(Debug)]
pub(crate) struct BoundKernel {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) params: wgpu::BindGroup,
    /// One a layer.
    pub(crate) layers: Vec<wgpu::BindGroup>,
}

impl Bound {
    pub(crate) async fn new(
        context: &Context,
        plan: &Plan,
        weights: &[LayerBuffers],
        scratch: &Scratch,
        io: &Io,
    ) -> Result<Self> {
        let projected = plan.config.is_projected();
        let mut kernels = Vec::new();
        for &kernel in Kernel::of(&plan.config) {
            let step = (kernel == Kernel::Step).then_some(StepConstants { tile: plan.step_tile, projected });
            let key = PipelineKey { kernel, cell: plan.config.cell, step };
            let pipeline = context.pipelines.get(&context.gpu, key).await?;
            let bind = || {
                let device = &context.gpu.device;
                let params = pipeline.bind_params(device, kernel, &scratch.params, &scratch.rows);
                let of_layer = |(layer, weights)| {
                    pipeline.bind_storage(device, layer_buffers(kernel, plan, layer, weights, scratch, io))
                };
                let layers = weights.iter().enumerate().map(of_layer).collect();
                BoundKernel { pipeline: Arc::clone(&pipeline), params, layers }
            };
            kernels.push(context.gpu.scoped("binding buffers", bind).await?);
        }
        Ok(Self { kernels })
    }

    pub(crate) fn kernel(&self, kernel: Kernel) -> &BoundKernel {
        &self.kernels[kernel as usize]
    }
}

/// The storage buffers of a kernel in a layer, in the order of its bindings.
fn layer_buffers<'a>(
    kernel: Kernel,
    plan: &Plan,
    layer: usize,
    weights: &'a LayerBuffers,
    scratch: &'a Scratch,
    io: &'a Io,
) -> Vec<wgpu::BufferBinding<'a>> {
    let whole = wgpu::Buffer::as_entire_buffer_binding;
    let last = plan.config.num_layers - 1;
    // A caller's buffer may be larger than a binding may be; only what the plan needs of it is bound.
    let x = if layer == 0 { part(&io.input, plan.bytes.input) } else { whole(&scratch.between[(layer - 1) % 2]) };
    let y = if layer == last { part(&io.output, plan.bytes.output) } else { whole(&scratch.between[layer % 2]) };
    let h_n = part(&io.h_n, plan.bytes.h);
    match (kernel, &scratch.raw, &weights.w_hr) {
        (Kernel::Shrink, Some(raw), Some(w_hr)) => {
            let (raw, w_hr, h_0) = (whole(raw), whole(w_hr), whole(&scratch.h_0));
            kernels::shrink::Buffers { raw, w_hr, h_0, y, h_n }.in_order()
        }
        (Kernel::Project | Kernel::Shrink, ..) => {
            let (w_ih, b_ih, gx) = (whole(&weights.w_ih), whole(&weights.b_ih), whole(&scratch.gx));
            kernels::project::Buffers { x, w_ih, b_ih, gx }.in_order()
        }
        (Kernel::Step, raw, _) => kernels::step::Buffers {
            gx: whole(&scratch.gx),
            w_hh: whole(&weights.w_hh),
            b_hh: whole(&weights.b_hh),
            h_0: whole(&scratch.h_0),
            y,
            h_out: raw.as_ref().map_or(h_n, whole),
            carried: io.carried.iter().map(|state| part(state, plan.bytes.carried)).collect(),
        }
        .in_order(),
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
    /// Where each submission ends, in dispatches from the start.
    pub(crate) submission_ends: Vec<usize>,
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
                    |name: &str, bytes: u64| buffer(device, name, bytes, Use::STORAGE | Use::COPY_DST | Use::COPY_SRC);
                let carried = plan.config.cell.states().iter().skip(1);
                let io = Io {
                    input: buffer(device, "input", plan.bytes.input, Use::STORAGE | Use::COPY_DST),
                    output: buffer(device, "output", plan.bytes.output, Use::STORAGE | Use::COPY_SRC),
                    h_n: state("h_n", plan.bytes.h),
                    carried: carried.map(|s| state(s.last, plan.bytes.carried)).collect(),
                };
                let bytes = plan.bytes.readback(&plan.config);
                (io, buffer(device, "readback", bytes, Use::MAP_READ | Use::COPY_DST))
            })
            .await?;
        let bound = Bound::new(context, &plan, weights, &scratch, &io).await?;
        let submission_ends = plan.submission_ends();
        Ok(Self { plan, scratch, io, bound, staging, submission_ends })
    }
}
