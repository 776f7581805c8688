// The plain recurrent cell with the options of ONNX's operator:
//
//   h' = f(clip(gx + gh))
//
// with gx = W_ih·x + b_ih and gh = W_hh·h + b_hh. The CPU twin is cpu/reference/cell/general/mod.rs.
//
// Needs: `f_of` from cell/activations.wgsl; `State` from cell/general_state_h.wgsl; `Gates` from cell/gates_1.wgsl.

fn cell(gx: Gates, gh: Gates, old: State) -> State {
    return State(f_of(old.d, gx + gh), old.d);
}
