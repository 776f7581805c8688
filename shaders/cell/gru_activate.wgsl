// The activated gates of a GRU, see cell/gru.wgsl.
//
// Needs: `InputGates`, `Gates` from cell/; `gates` from backward/recompute.wgsl; `safe_sigmoid`, `safe_tanh` from
// base/numeric.wgsl.

// Stores the gates of a unit, element `at`.
fn activate(at: u32, gx: InputGates, gh: Gates, row: u32, d: u32, u: u32) {
    let r = safe_sigmoid(gx.x + gh.x);
    gates[at] = vec4<f32>(r, safe_sigmoid(gx.y + gh.y), safe_tanh(gx.z + r * gh.z), gh.z);
}
