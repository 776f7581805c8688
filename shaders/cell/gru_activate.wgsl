// The activated gates of a GRU, see cell/gru.wgsl.
//
// Needs: `InputGates`, `Gates` from cell/; `gx`, `gates` from backward/recompute.wgsl; `safe_sigmoid`, `safe_tanh` from
// base/numeric.wgsl.

// Returns what W_hh·h is added to: gx_n comes later, as the reset gate does not act on it.
fn before_product(of_x: InputGates, bias: Gates) -> Gates {
    return vec3<f32>(of_x.xy + bias.xy, bias.z);
}

// Stores the gates of a unit, element `at`.
fn activate(at: u32, sum: Gates, row: u32, d: u32, u: u32) {
    let r = safe_sigmoid(sum.x);
    gates[at] = vec4<f32>(r, safe_sigmoid(sum.y), safe_tanh(gx[at].n + r * sum.z), sum.z);
}
