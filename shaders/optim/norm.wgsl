// The norm of all gradients of a step together, and what follows from it: `torch.nn.utils.clip_grad_norm_`.
//
//   norm = √Σ g²        scale = min(1, clip_norm / (norm + 1e-6)) if norm > clip_norm, else 1
//
// Needs: `slot`, `INVOCATIONS` from optim/slot.wgsl; `sum_of_group` from optim/sum_of_group.wgsl; `Clip` from
// optim/clip.wgsl.

@group(0) @binding(0) var<storage, read> squares: array<f32>;
@group(0) @binding(1) var<storage, read_write> clip: Clip;

// Returns whether a number is neither infinite nor NaN, by its bits as in `clipped`.
fn is_finite(value: f32) -> bool {
    return (bitcast<u32>(value) & 0x7f800000u) != 0x7f800000u;
}

@compute @workgroup_size(256)
fn norm(@builtin(local_invocation_index) index: u32) {
    var sum = 0.0;
    for (var at = index; at < slot.first_square; at += INVOCATIONS) {
        sum += squares[at];
    }
    let total = sum_of_group(index, sum);
    if (index == 0u) {
        let norm = sqrt(total);
        var scale = 1.0;
        if (norm > slot.clip_norm) {
            scale = min(1.0, slot.clip_norm / (norm + 1e-6));
        }
        clip = Clip(total, norm, scale, select(0u, 1u, is_finite(total)));
    }
}
