// The second product of the GRU whose reset gate acts before it, with the options of ONNX's operator:
//
//   n = g(clip(gx_n + gh_n))    h' = (1 - z) ⊙ n + z ⊙ h
//
// with gh = W_hh[n]·(r ⊙ h) + b_hh. The CPU twin is cpu/reference/cell/general/gru.rs.
//
// Needs: `InputGates` from cell/input_gates_3.wgsl; `Gates` from cell/gates_1.wgsl; `gated`, `update_index` from
// cell/two_products.wgsl; `g_of` from cell/activations.wgsl.

struct State {
    h: f32,
    z: f32,
    d: u32,
}

fn load_state(h: f32, s: u32, d: u32, b: u32, u: u32) -> State {
    return State(h, gated[update_index(d, b, u)], d);
}

fn store_state(state: State, s: u32, d: u32, b: u32, u: u32) {}

// The last kernel of a step: nothing follows.
fn hand_on(state: State, d: u32, b: u32, u: u32) {}

fn cell(gx: InputGates, gh: Gates, old: State) -> State {
    let n = g_of(old.d, gx.z + gh);
    return State((1.0 - old.z) * n + old.z * old.h, old.z, old.d);
}
