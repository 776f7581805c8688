// The GRU cell (Cho et al. 2014) in the form of torch.nn.GRU and cuDNN, where the reset gate acts on the finished
// recurrent product of the new gate:
//
//   r = σ(gx_r + gh_r)    z = σ(gx_z + gh_z)    n = tanh(gx_n + r ⊙ gh_n)
//   h' = (1 - z) ⊙ n + z ⊙ h
//
// with gx = W_ih·x + b_ih and gh = W_hh·h + b_hh. The CPU twin is cpu/reference/cell/gru.rs.
//
// Needs: `safe_sigmoid`, `safe_tanh` from base/numeric.wgsl; `State` from cell/state_h.wgsl; `Gates` from
// cell/gates_3.wgsl.

fn cell(gx: Gates, gh: Gates, old: State) -> State {
    let r = safe_sigmoid(gx.x + gh.x);
    let z = safe_sigmoid(gx.y + gh.y);
    let n = safe_tanh(gx.z + r * gh.z);
    return State((1.0 - z) * n + z * old.h);
}
