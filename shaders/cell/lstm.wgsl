// The LSTM cell (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000), as torch.nn.LSTM:
//
//   i = σ(gx_i + gh_i)    f = σ(gx_f + gh_f)    g = tanh(gx_g + gh_g)    o = σ(gx_o + gh_o)
//   c' = f ⊙ c + i ⊙ g
//   h' = o ⊙ tanh(c')
//
// with gx = W_ih·x + b_ih and gh = W_hh·h + b_hh. The CPU twin is cpu/reference/cell/lstm.rs.
//
// Needs: `c_index` from base/rows.wgsl; `safe_sigmoid`, `safe_tanh` from base/numeric.wgsl; `Gates` from
// cell/gates_4.wgsl.

struct State {
    h: f32,
    c: f32,
}

// h is an input of the recurrent product only, not of the cell.
const READS_H = false;

// The cell state, which an LSTM carries in addition to h. An invocation touches only its own element, so one binding
// holds c before and after the step, in the same place unless the states of all steps are wanted.
// [L, D, state_rows, H], or for all steps [L, T + 1, D, state_rows, H]
@group(0) @binding(6) var<storage, read_write> c: array<f32>;

// Loads the state before step s.
fn load_state(h: f32, s: u32, d: u32, b: u32, u: u32) -> State {
    return State(h, c[c_index(s, d, b, u)]);
}

// Stores the state after step s.
fn store_state(state: State, s: u32, d: u32, b: u32, u: u32) {
    c[c_index(s + 1u, d, b, u)] = state.c;
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
