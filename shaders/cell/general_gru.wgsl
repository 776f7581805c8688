// The GRU cell with the options of ONNX's operator, whose reset gate acts after the recurrent product:
//
//   r = f(clip(gx_r + gh_r))    z = f(clip(gx_z + gh_z))    n = g(clip(gx_n + r ⊙ gh_n))
//   h' = (1 - z) ⊙ n + z ⊙ h
//
// with gx = W_ih·x + b_ih and gh = W_hh·h + b_hh. The CPU twin is cpu/reference/cell/general/gru.rs.
//
// Needs: `f_of`, `g_of` from cell/activations.wgsl; `State` from cell/general_state_h.wgsl; `Gates` from
// cell/gates_3.wgsl.

fn cell(gx: Gates, gh: Gates, old: State) -> State {
    let r = f_of(old.d, gx.x + gh.x);
    let z = f_of(old.d, gx.y + gh.y);
    let n = g_of(old.d, gx.z + r * gh.z);
    return State((1.0 - z) * n + z * old.h, old.d);
}
