// The activated gates of an LSTM, see cell/lstm.wgsl.
//
// Needs: `InputGates`, `Gates` from cell/; `gates` from backward/recompute.wgsl; `safe_sigmoid`, `safe_tanh` from
// base/numeric.wgsl.

// Stores the gates of a unit, element `at`.
fn activate(at: u32, gx: InputGates, gh: Gates, row: u32, d: u32, u: u32) {
    let a = gx + gh;
    gates[at] = vec4<f32>(safe_sigmoid(a.x), safe_sigmoid(a.y), safe_tanh(a.z), safe_sigmoid(a.w));
}
