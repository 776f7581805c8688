// Adds up the parts of a gradient of weights, one after another, into the first, see backward/weight_gradient.wgsl.

override PARTS: u32;

@group(0) @binding(0) var<storage, read_write> dw: array<f32>; // [PARTS, ·]

@compute @workgroup_size(256)
fn sum_parts(
    @builtin(local_invocation_index) index: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let size = arrayLength(&dw) / PARTS;
    let at = (group.y * groups.x + group.x) * 256u + index;
    if (at >= size) {
        return;
    }
    var sum = dw[at];
    for (var part = 1u; part < PARTS; part++) {
        sum += dw[part * size + at];
    }
    dw[at] = sum;
}
