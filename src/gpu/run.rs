//! The execution of programs: binding arrays to kernels, recording commands, and cutting them into submissions.

use std::sync::Arc;

use crate::blocking::Wait;
use crate::error::{Error, Result};
use crate::gpu::arrays::{Arrays, BufferRange, missing};
use crate::gpu::context::Context;
use crate::gpu::guarded::GuardedDevice;
use crate::gpu::pipeline::Pipeline;
use crate::gpu::weights::PackedWeights;
use crate::plan::program::{Binding, Command, Copy, Name, Program};

/// The kernels of a program with their arrays, ready to record.
#[derive(Debug)]
pub(crate) struct Bound(Vec<BoundKernel>);

#[derive(Debug)]
struct BoundKernel {
    pipeline: Arc<Pipeline>,
    storage: wgpu::BindGroup,
    params: wgpu::BindGroup,
    /// The number of dynamic offsets that the parameters take.
    blocks: usize,
}

impl Bound {
    /// Binds the arrays, compiling kernels that are new to the device.
    pub(crate) async fn new(
        context: &Context,
        bindings: &[Binding],
        weights: Option<&PackedWeights>,
        arrays: &Arrays,
    ) -> Result<Self> {
        let mut bound = Vec::with_capacity(bindings.len());
        for binding in bindings {
            let pipeline = context.pipelines.get(&context.gpu, &binding.pipeline).await?;
            let find = |name| weights.and_then(|weights| weights.find(name)).or_else(|| arrays.find(name));
            let storage = binding.storage.iter().map(|&(name, _)| find(name).ok_or_else(|| missing(name)));
            let storage = storage.collect::<Result<Vec<&BufferRange>>>()?;
            let (params, call) = (arrays.get(Name::Params)?, arrays.find(Name::Call));
            let bind = || BoundKernel {
                storage: pipeline.bind_storage(&context.gpu.device, &storage),
                params: pipeline.bind_params(&context.gpu.device, params, call),
                blocks: binding.pipeline.sources.block_count(),
                pipeline: Arc::clone(&pipeline),
            };
            bound.push(context.gpu.scoped("binding buffers", bind).await?);
        }
        Ok(Self(bound))
    }
}

/// Records commands. Consecutive dispatches form one compute pass, and recording them allocates nothing here.
pub(crate) fn record(
    encoder: &mut wgpu::CommandEncoder,
    commands: impl Iterator<Item = Command>,
    bound: &Bound,
    arrays: &Arrays,
) -> Result<()> {
    let mut commands = commands.peekable();
    while let Some(command) = commands.next() {
        let mut dispatch = match command {
            Command::Copy(copy) => {
                record_copy(encoder, &copy, arrays)?;
                continue;
            }
            Command::Clear { target, range } => {
                let bytes = range.end - range.start;
                let (buffer, place) = arrays.part(target, range)?;
                encoder.clear_buffer(buffer, place.start, Some(bytes));
                continue;
            }
            Command::Dispatch(dispatch) => dispatch,
        };
        let label = Some("wgpu-rnn");
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label, timestamp_writes: None });
        let mut current = None;
        loop {
            let BoundKernel { pipeline, storage, params, blocks } = &bound.0[dispatch.binding];
            if current != Some(dispatch.binding) {
                pass.set_pipeline(&pipeline.pipeline);
                pass.set_bind_group(0, storage, &[]);
                current = Some(dispatch.binding);
            }
            let offsets = [dispatch.chunk_offset, dispatch.step_offset];
            pass.set_bind_group(1, params, &offsets[..*blocks]);
            let [x, y, z] = dispatch.groups;
            pass.dispatch_workgroups(x, y, z);
            match commands.next_if(|command| matches!(command, Command::Dispatch(_))) {
                Some(Command::Dispatch(next)) => dispatch = next,
                _ => break,
            }
        }
    }
    Ok(())
}

fn record_copy(encoder: &mut wgpu::CommandEncoder, copy: &Copy, arrays: &Arrays) -> Result<()> {
    let Copy { source, from, target, to, bytes } = *copy;
    let (source, from) = arrays.part(source, from..from + bytes)?;
    let (target, to) = arrays.part(target, to..to + bytes)?;
    encoder.copy_buffer_to_buffer(source, from.start, target, to.start, bytes);
    Ok(())
}

/// Submits the commands `before`, then a program, in parts that end at `ends`; at most two parts are in flight. Errors
/// say what happened `during`.
#[expect(clippy::too_many_arguments, reason = "what is run, where, and how")]
pub(crate) async fn submit(
    gpu: &GuardedDevice,
    before: Vec<Command>,
    program: &Program,
    ends: &[usize],
    bound: &Bound,
    arrays: &Arrays,
    during: &'static str,
    wait: Wait,
) -> Result<wgpu::SubmissionIndex> {
    let mut work = program.work();
    let (mut before, mut start) = (Some(before), 0);
    let (mut newest, mut previous) = (None, None);
    for &end in ends {
        if let Some(previous) = previous.take() {
            gpu.until_done(previous, wait, during).await?;
        }
        let submitted = gpu.scoped(during, || {
            let label = Some("wgpu-rnn");
            let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
            let after: &[Copy] = if Some(&end) == ends.last() { &program.after } else { &[] };
            let commands = before.take().into_iter().flatten();
            let commands = commands.chain(work.by_ref().take(end - start));
            let commands = commands.chain(after.iter().copied().map(Command::Copy));
            record(&mut encoder, commands, bound, arrays)?;
            Ok(gpu.queue.submit([encoder.finish()]))
        });
        previous = newest.replace(submitted.await??);
        start = end;
    }
    newest.ok_or_else(|| Error::Gpu { during, message: "nothing was submitted".to_owned() })
}
