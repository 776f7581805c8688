// The backward of the LSTM cell, see cell/lstm.wgsl:
//
//   dc(s) += dh ⊙ o ⊙ (1 - tanh²c(s))
//   δi = dc ⊙ g ⊙ i(1-i)    δf = dc ⊙ c(s-1) ⊙ f(1-f)    δg = dc ⊙ i ⊙ (1-g²)    δo = dh ⊙ tanh c(s) ⊙ o(1-o)
//   dc(s-1) = dc ⊙ f
//
// The CPU twin is cpu/reference/cell/lstm.rs.
//
// Needs: `params`, `chunk` from base/params.wgsl; `state_row`, `c_index` from base/rows.wgsl; `safe_tanh` from
// base/numeric.wgsl; `sigmoid_slope`, `tanh_slope` from base/slopes.wgsl; `gates` from the bindings of the role;
// `gates_index` from backward/gates.wgsl.

@group(0) @binding(4) var<storage, read_write> dc: array<f32>; // [L, D, B, H]
@group(0) @binding(5) var<storage, read> c: array<f32>;        // before and after each step: [L, T + 1, D, B, H]

// Returns the index of dc.
fn dc_index(d: u32, b: u32, u: u32) -> u32 {
    // The number of rows of the layers below.
    let below = chunk.h_offset / params.recurrent_size;
    return (below + d * params.state_rows + state_row(b)) * params.hidden_size + u;
}

// Takes the gradient with respect to the output of the cell, o ⊙ tanh(c), at step s. Returns that output.
fn cell_backward(s: u32, index: u32, d: u32, b: u32, u: u32, dm: f32) -> f32 {
    let at = gates_index(index, d, b, u);
    let saved = gates[at];
    let i = saved.x;
    let f = saved.y;
    let g = saved.z;
    let o = saved.w;
    let tanh_c = safe_tanh(c[c_index(s + 1u, d, b, u)]);
    let of_c = dc[dc_index(d, b, u)] + dm * o * tanh_slope(tanh_c);
    gates[at] = vec4<f32>(
        of_c * g * sigmoid_slope(i),
        of_c * c[c_index(s, d, b, u)] * sigmoid_slope(f),
        of_c * i * tanh_slope(g),
        dm * tanh_c * sigmoid_slope(o),
    );
    dc[dc_index(d, b, u)] = of_c * f;
    return o * tanh_c;
}
