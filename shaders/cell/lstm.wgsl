// The LSTM cell (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000), as torch.nn.LSTM:
//
//   i = σ(gx_i + gh_i)    f = σ(gx_f + gh_f)    g = tanh(gx_g + gh_g)    o = σ(gx_o + gh_o)
//   c' = f ⊙ c + i ⊙ g
//   h' = o ⊙ tanh(c')
//
// with gx = W_ih·x + b_ih and gh = W_hh·h + b_hh. The CPU twin is cpu/reference/cell/lstm.rs.
//
// Needs: `safe_sigmoid`, `safe_tanh` from base/numeric.wgsl.

/// The pre-activations of one unit in PyTorch's gate order: i, f, g, o.
alias Gates = vec4<f32>;

/// How the gates of one unit lie in a buffer.
alias PackedGates = vec4<f32>;

fn unpack_gates(packed: PackedGates) -> Gates {
    return packed;
}

fn pack_gates(gates: Gates) -> PackedGates {
    return gates;
}

struct State {
    h: f32,
    c: f32,
}

// What an LSTM carries besides h: the cell state. An invocation touches its own element only, so one binding holds c before and
// c after the step, in the same place unless all of them are wanted.

@group(0) @binding(6) var<storage, read_write> c: array<f32>; // [L, D, state_rows, H], or of all steps [L, T + 1, D, state_rows, H]

fn load_state(h: f32, index: u32) -> State {
    return State(h, c[index]);
}

fn store_state(state: State, index: u32) {
    c[index] = state.c;
}

fn cell(gx: Gates, gh: Gates, old: State) -> State {
    let a = gx + gh;
    let i = safe_sigmoid(a.x);
    let f = safe_sigmoid(a.y);
    let g = safe_tanh(a.z);
    let o = safe_sigmoid(a.w);
    let c = f * old.c + i * g;
    return State(o * safe_tanh(c), c);
}
