// The gradient of W_hh and b_hh, see backward/weight_gradient.wgsl; the operand is h before each step, or what the
// reset gate lets through of it.
//
// Needs: `params` from base/params.wgsl; `PackedGates`, `Saved` from cell/.

@group(0) @binding(0) var<storage, read> gates: array<Saved>;           // [steps, B, D, H], what has replaced them: δ
@group(0) @binding(1) var<storage, read_write> dw: array<PackedGates>;  // [D, H / 8, P, 8] and [D, H] of G
@group(0) @binding(2) var<storage, read> y: array<f32>;                 // [T, B, D, P] or [B, T, D, P], by y_stride_*
@group(0) @binding(3) var<storage, read> h_0: array<f32>;               // [L, D, B, P]

fn columns() -> u32 {
    return params.recurrent_size;
}
