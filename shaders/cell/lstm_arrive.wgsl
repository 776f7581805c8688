// Needs: `carry` from backward/step.wgsl; `h_index` from base/rows.wgsl; `cell_backward` from cell/lstm_backward.wgsl.

// Takes the gradient with respect to h of step s.
fn arrive(s: u32, index: u32, d: u32, b: u32, u: u32, dh: f32) {
    cell_backward(s, index, d, b, u, dh);
    carry[h_index(d, b, u)] = 0.0;
}
