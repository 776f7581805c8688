// The backward of the GRU cell, see cell/gru.wgsl:
//
//   δn = dh ⊙ (1-z) ⊙ (1-n²)    δz = dh ⊙ (h(s-1) - n) ⊙ z(1-z)    δr = δn ⊙ gh_n ⊙ r(1-r)
//
// with respect to gx; that with respect to gh_n is δn ⊙ r. The carry is dh ⊙ z. The CPU twin is
// cpu/reference/cell/gru.rs.
//
// Needs: `h_index` from base/rows.wgsl; `sigmoid_slope`, `tanh_slope` from base/slopes.wgsl; `h_before_row`, `value_at`
// from operand/h_before.wgsl; `gates`,
// `carry` from backward/step.wgsl; `gates_index` from backward/gates.wgsl.

@group(0) @binding(4) var<storage, read> y: array<f32>;   // [T, B, D, P] or [B, T, D, P], by y_stride_*
@group(0) @binding(5) var<storage, read> h_0: array<f32>; // [L, D, B, P]

// Takes the gradient with respect to h of step s.
fn arrive(s: u32, index: u32, d: u32, b: u32, u: u32, dh: f32) {
    let at = gates_index(index, d, b, u);
    let saved = gates[at];
    let r = saved.x;
    let z = saved.y;
    let n = saved.z;
    let delta_n = dh * (1.0 - z) * tanh_slope(n);
    let delta_z = dh * (value_at(h_before_row(s, d, b) + u) - n) * sigmoid_slope(z);
    gates[at] = vec4<f32>(delta_n * saved.w * sigmoid_slope(r), delta_z, delta_n, delta_n * r);
    carry[h_index(d, b, u)] = dh * z;
}
