//! Recording: a plan's dispatches into a caller's or our own encoder.

use std::ops::Range;

use crate::gpu::workspace::Bound;
use crate::plan::{Kernel, Plan};

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
