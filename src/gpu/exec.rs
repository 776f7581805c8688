//! Recording a plan's dispatches into an encoder, and submitting a whole forward.

use std::ops::Range;

use crate::gpu::Wait;
use crate::gpu::guarded::GuardedDevice;
use crate::gpu::workspace::{Bound, Io, Scratch, Workspace};
use crate::plan::Plan;
use crate::plan::kernel::Kernel;
use crate::{Error, Result};

/// Records the plan's dispatches number `range` as one compute pass. Recording a dispatch allocates nothing here.
pub(crate) fn record(encoder: &mut wgpu::CommandEncoder, plan: &Plan, bound: &Bound, range: Range<usize>) {
    let mut pass = encoder
        .begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("wgpu-rnn forward"), timestamp_writes: None });
    let mut current: Option<(Kernel, usize)> = None;
    for dispatch in plan.dispatches().skip(range.start).take(range.len()) {
        let kernel = bound.kernel(dispatch.kernel);
        if current != Some((dispatch.kernel, dispatch.layer)) {
            pass.set_pipeline(&kernel.pipeline.pipeline);
            pass.set_bind_group(0, &kernel.layers[dispatch.layer], &[]);
        }
        let offsets = [dispatch.chunk_offset, dispatch.step_offset];
        let used = super::kernels::block_count(dispatch.kernel);
        pass.set_bind_group(1, &kernel.params, &offsets[..used]);
        let [x, y, z] = dispatch.groups;
        pass.dispatch_workgroups(x, y, z);
        current = Some((dispatch.kernel, dispatch.layer));
    }
}

/// Records the copy of the output of the last layer to where the caller wants it, if it lies among those of all layers.
pub(crate) fn record_output(encoder: &mut wgpu::CommandEncoder, plan: &Plan, scratch: &Scratch, io: &Io) {
    if let Some(at) = plan.stacked_output(plan.config.num_layers - 1) {
        encoder.copy_buffer_to_buffer(&scratch.between[0], at, &io.output, 0, plan.bytes.output);
    }
}

/// Where the initial states of a forward come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Initial {
    Zeros,
    /// They were uploaded to where they are read.
    Uploaded,
    /// They are the last states of the forward before; h is copied from these places, in bytes.
    Last(Vec<Range<u64>>),
}

/// Submits a forward, in parts where it is long, and after it the copies of its results into the staging buffer, one behind the
/// other; at most two parts are in flight.
pub(crate) async fn submit(
    gpu: &GuardedDevice,
    workspace: &Workspace,
    initial: &Initial,
    wait: Wait,
) -> Result<wgpu::SubmissionIndex> {
    let during = "running a forward";
    let Workspace { plan, scratch, io, bound, staging, submission_ends, .. } = workspace;
    let (mut start, mut newest, mut previous) = (0, None, None);
    for (part, &end) in submission_ends.iter().enumerate() {
        if let Some(previous) = previous.take() {
            gpu.until_done(previous, wait, during).await?;
        }
        let submitted = gpu.scoped(during, || {
            let label = Some("wgpu-rnn forward");
            let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
            if part == 0 {
                match initial {
                    Initial::Uploaded => {}
                    Initial::Zeros => {
                        initial_targets(scratch, io).for_each(|state| encoder.clear_buffer(state, 0, None));
                    }
                    Initial::Last(places) => {
                        for Range { start, end } in places {
                            encoder.copy_buffer_to_buffer(&io.last.h, *start, &scratch.h, *start, end - start);
                        }
                    }
                }
            }
            record(&mut encoder, plan, bound, start..end);
            if end == plan.dispatch_count() {
                let mut offset = 0;
                for (result, Range { start, end }) in workspace.results() {
                    encoder.copy_buffer_to_buffer(result, start, staging, offset, end - start);
                    offset += end - start;
                }
            }
            gpu.queue.submit([encoder.finish()])
        });
        previous = newest.replace(submitted.await?);
        start = end;
    }
    newest.ok_or_else(|| Error::Gpu { during, message: "nothing was submitted".to_owned() })
}

/// Where the initial states go, h first: h into a buffer of its own, the others into the last states, which the kernel
/// updates in place.
pub(crate) fn initial_targets<'a>(scratch: &'a Scratch, io: &'a Io) -> impl Iterator<Item = &'a wgpu::Buffer> {
    std::iter::once(&scratch.h).chain(&io.last.carried)
}
