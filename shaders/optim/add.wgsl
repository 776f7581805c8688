// Adds a gradient to another: gradients of several passes accumulate.
//
// Needs: `slot`, `place` from optim/slot.wgsl.

@group(0) @binding(0) var<storage, read_write> sum: array<f32>;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;

@compute @workgroup_size(256)
fn add(
    @builtin(local_invocation_index) index: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let here = place(index, group.x, groups.x);
    for (var at = here.x; at < slot.elements; at += here.y) {
        sum[at] += gradient[at];
    }
}
