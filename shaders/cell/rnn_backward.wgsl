// The backward of the plain recurrent cell, see cell/rnn.wgsl: δ = dh ⊙ nonlinearity'. The CPU twin is
// cpu/reference/cell/rnn.rs.
//
// Needs: `h_index`, `y_index` from base/rows.wgsl; `through_nonlinearity` from cell/rnn_tanh_backward.wgsl or
// cell/rnn_relu_backward.wgsl; `gates`,
// `carry` from backward/step.wgsl; `gates_index` from backward/gates.wgsl.

@group(0) @binding(4) var<storage, read> y: array<f32>; // [T, B, D, P] or [B, T, D, P], by y_stride_*

// Takes the gradient with respect to h of step s.
fn arrive(s: u32, index: u32, d: u32, b: u32, u: u32, dh: f32) {
    gates[gates_index(index, d, b, u)] = through_nonlinearity(y[y_index(s, d, b, u)], dh);
    carry[h_index(d, b, u)] = 0.0;
}
