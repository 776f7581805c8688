// Sums the squares of a gradient's elements: each workgroup leaves the sum of those of its invocations.
//
// Needs: `slot`, `place`, `clipped` from optim/slot.wgsl; `sum_of_group` from optim/sum_of_group.wgsl.

@group(0) @binding(0) var<storage, read> gradient: array<f32>;
@group(0) @binding(1) var<storage, read_write> squares: array<f32>;

@compute @workgroup_size(256)
fn sum_squares(
    @builtin(local_invocation_index) index: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let here = place(index, group.x, groups.x);
    var sum = 0.0;
    for (var at = here.x; at < slot.elements; at += here.y) {
        let g = clipped(gradient[slot.first + at]);
        sum += g * g;
    }
    let total = sum_of_group(index, sum);
    if (index == 0u) {
        squares[slot.first_square + group.x] = total;
    }
}
