// The activated gates of an LSTM, see cell/lstm.wgsl.
//
// Needs: `InputGates`, `Gates` from cell/; `gates` from backward/recompute.wgsl; `safe_sigmoid`, `safe_tanh` from
// base/numeric.wgsl.

// Returns what W_hh·h is added to.
fn before_product(of_x: InputGates, bias: Gates) -> Gates {
    return of_x + bias;
}

// Stores the gates of a unit, element `at`.
fn activate(at: u32, sum: Gates, row: u32, d: u32, u: u32) {
    gates[at] = vec4<f32>(safe_sigmoid(sum.x), safe_sigmoid(sum.y), safe_tanh(sum.z), safe_sigmoid(sum.w));
}
