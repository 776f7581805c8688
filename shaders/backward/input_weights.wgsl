// The gradient of W_ih and b_ih, see backward/weight_gradient.wgsl; the operand is x.
//
// Needs: `chunk` from base/params.wgsl; `PackedGates`, `Saved` from cell/.

@group(0) @binding(0) var<storage, read> gates: array<Saved>;           // [steps, B, D, H], what has replaced them: δ
@group(0) @binding(1) var<storage, read_write> dw: array<PackedGates>;  // [D, H / 8, I, 8] and [D, H] of G
@group(0) @binding(2) var<storage, read> x: array<f32>;                 // [T, B, I] or [B, T, I], by x_stride_*

fn columns() -> u32 {
    return chunk.input_size;
}
