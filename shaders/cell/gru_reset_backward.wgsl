// The backward of the GRU cell whose reset gate acts before the second product, up to that product, see
// cell/gru_new.wgsl:
//
//   δn = dh ⊙ (1-z) ⊙ (1-n²)    δz = dh ⊙ (h(s-1) - n) ⊙ z(1-z)
//
// The carry so far is dh ⊙ z; cell/gru_new_backward.wgsl goes on. The CPU twin is cpu/reference/cell/gru.rs.
//
// Needs: `h_index` from base/rows.wgsl; `sigmoid_slope`, `tanh_slope` from base/slopes.wgsl; `h_before_row`, `value_at`
// from operand/h_before.wgsl; `gates`,
// `carry` from backward/step.wgsl; `gates_index` from backward/gates.wgsl.

@group(0) @binding(4) var<storage, read> y: array<f32>;   // [T, B, D, P] or [B, T, D, P], by y_stride_*
@group(0) @binding(5) var<storage, read> h_0: array<f32>; // [L, D, B, P]

// Takes the gradient with respect to h of step s.
fn arrive(s: u32, index: u32, d: u32, b: u32, u: u32, dh: f32) {
    let at = gates_index(index, d, b, u);
    let z = gates[at].z;
    let n = gates[at].n;
    gates[at].z = dh * (value_at(h_before_row(s, d, b) + u) - n) * sigmoid_slope(z);
    gates[at].n = dh * (1.0 - z) * tanh_slope(n);
    carry[h_index(d, b, u)] = dh * z;
}
