// `torch.optim.Adam` and `AdamW`, which differ in what the host makes of the weight decay:
//
//   g += decay · p        m += first_share · (g - m)        v = second_rate · v + second_share · g²
//   p = kept · p - rate · m / (√v / correction + eps)
//
// Needs: `slot`, `place`, `clipped` from optim/slot.wgsl; `Clip` from optim/clip.wgsl.

@group(0) @binding(0) var<storage, read_write> parameter: array<f32>;
// Only read, but a buffer that holds parameters and gradients must not be bound in two ways.
@group(0) @binding(1) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> clip: Clip;
@group(0) @binding(3) var<storage, read_write> exp_avg: array<f32>;
@group(0) @binding(4) var<storage, read_write> exp_avg_sq: array<f32>;

@compute @workgroup_size(256)
fn adam(
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
        let before = exp_avg[slot.first + at];
        let m = before + slot.first_share * (g - before);
        let v = slot.second_rate * exp_avg_sq[slot.first + at] + slot.second_share * g * g;
        exp_avg[slot.first + at] = m;
        exp_avg_sq[slot.first + at] = v;
        parameter[at] = slot.kept * p - slot.rate * m / (sqrt(v) / slot.correction + slot.eps);
    }
}
