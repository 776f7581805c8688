// The GRU cell (Cho et al. 2014) in the form of torch.nn.GRU and cuDNN, where the reset gate acts on the finished recurrent
// product of the new gate:
//
//   r = σ(gx_r + gh_r)    z = σ(gx_z + gh_z)    n = tanh(gx_n + r ⊙ gh_n)
//   h' = (1 - z) ⊙ n + z ⊙ h
//
// with gx = W_ih·x + b_ih and gh = W_hh·h + b_hh. The CPU twin is cpu/reference/cell/gru.rs.
//
// Needs: `safe_sigmoid`, `safe_tanh` from base/numeric.wgsl; `State` from cell/state_h.wgsl.

/// The pre-activations of one unit in PyTorch's gate order: r, z, n.
alias Gates = vec3<f32>;

/// How the gates of one unit lie in a buffer: three floats, where an array of vec3 would take four.
struct PackedGates {
    r: f32,
    z: f32,
    n: f32,
}

fn unpack_gates(packed: PackedGates) -> Gates {
    return vec3<f32>(packed.r, packed.z, packed.n);
}

fn pack_gates(gates: Gates) -> PackedGates {
    return PackedGates(gates.x, gates.y, gates.z);
}

fn cell(gx: Gates, gh: Gates, old: State) -> State {
    let r = safe_sigmoid(gx.x + gh.x);
    let z = safe_sigmoid(gx.y + gh.y);
    let n = safe_tanh(gx.z + r * gh.z);
    return State((1.0 - z) * n + z * old.h);
}
