// The first product of the GRU whose reset gate acts before the second, with the options of ONNX's operator:
//
//   r = f(clip(gx_r + gh_r))    z = f(clip(gx_z + gh_z))
//
// with gx = W_ih·x + b_ih and gh = W_hh[r, z]·h + b_hh. It leaves r ⊙ h and z for general_gru_new.wgsl. The CPU twin is
// cpu/reference/cell/general/gru.rs.
//
// Needs: `InputGates` from cell/input_gates_3.wgsl; `Gates` from cell/gates_2.wgsl; `gated`, `update_index` from
// cell/two_products.wgsl; `f_of` from cell/activations.wgsl; `raw_index` from step/recurrence.wgsl.

struct State {
    h: f32, // h before the cell, r ⊙ h after it
    z: f32,
    d: u32,
}

fn load_state(h: f32, s: u32, d: u32, b: u32, u: u32) -> State {
    return State(h, 0.0, d);
}

fn store_state(state: State, s: u32, d: u32, b: u32, u: u32) {}

fn hand_on(state: State, d: u32, b: u32, u: u32) {
    gated[raw_index(d, b, u)] = state.h;
    gated[update_index(d, b, u)] = state.z;
}

fn cell(gx: InputGates, gh: Gates, old: State) -> State {
    let r = f_of(old.d, gx.x + gh.x);
    let z = f_of(old.d, gx.y + gh.y);
    return State(r * old.h, z, old.d);
}
