// `torch.optim.SGD`:
//
//   g += decay · p        b = first_rate · b + first_share · g        p -= rate · (of_gradient · g + of_first · b)
//
// The first step has first_rate = 0 and first_share = 1; Nesterov's momentum has of_gradient = 1 and of_first =
// momentum, otherwise 0 and 1.
//
// Needs: `slot`, `place`, `clipped` from optim/slot.wgsl; `Clip` from optim/clip.wgsl.

@group(0) @binding(0) var<storage, read_write> parameter: array<f32>;
// Only read, but a buffer that holds parameters and gradients must not be bound in two ways.
@group(0) @binding(1) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> clip: Clip;
@group(0) @binding(3) var<storage, read_write> momentum_buffer: array<f32>;

@compute @workgroup_size(256)
fn sgd(
    @builtin(local_invocation_index) index: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    if (clip.steps == 0u) {
        return;
    }
    let here = place(index, group.x, groups.x);
    for (var at = here.x; at < slot.elements; at += here.y) {
        let p = parameter[at];
        let g = clipped(gradient[slot.first + at]) * clip.scale + slot.decay * p;
        let b = slot.first_rate * momentum_buffer[slot.first + at] + slot.first_share * g;
        momentum_buffer[slot.first + at] = b;
        parameter[at] = p - slot.rate * (slot.of_gradient * g + slot.of_first * b);
    }
}
