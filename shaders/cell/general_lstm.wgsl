// The LSTM cell with the options of ONNX's operator:
//
//   i = f(clip(gx_i + gh_i + p_i ⊙ c))    f = f(clip(gx_f + gh_f + p_f ⊙ c)), or 1 - i with INPUT_FORGET
//   g = g(clip(gx_g + gh_g))              c' = f ⊙ c + i ⊙ g
//   o = f(clip(gx_o + gh_o + p_o ⊙ c'))   h' = o ⊙ h(c')
//
// with gx = W_ih·x + b_ih and gh = W_hh·h + b_hh. The CPU twin is cpu/reference/cell/general/lstm.rs.
//
// Needs: `params`, `chunk` from base/params.wgsl; `c_index` from base/rows.wgsl; `f_of`, `g_of`, `h_of` from
// cell/activations.wgsl; `Gates`, `unpack_gates` from cell/gates_4.wgsl; `b_hh` from step/recurrence.wgsl.

override INPUT_FORGET: bool;
override PEEPHOLES: bool;

struct State {
    h: f32,
    c: f32,
    peephole: Gates, // of i, f and o, which do not change from step to step
    d: u32,
}

// h is an input of the recurrent product only, not of the cell.
const READS_H = false;

// [L, D, state_rows, H], or for all steps [L, T + 1, D, state_rows, H]; see cell/lstm.wgsl.
@group(0) @binding(6) var<storage, read_write> c: array<f32>;

// Loads the state before step s. Peepholes, [D, H], follow the biases.
fn load_state(h: f32, s: u32, d: u32, b: u32, u: u32) -> State {
    var peephole = Gates();
    if (PEEPHOLES) {
        peephole = unpack_gates(b_hh[chunk.b_offset + (params.directions + d) * params.hidden_size + u]);
    }
    return State(h, c[c_index(s, d, b, u)], peephole, d);
}

// Stores the state after step s.
fn store_state(state: State, s: u32, d: u32, b: u32, u: u32) {
    c[c_index(s + 1u, d, b, u)] = state.c;
}

fn cell(gx: Gates, gh: Gates, old: State) -> State {
    let a = gx + gh;
    let i = f_of(old.d, a.x + old.peephole.x * old.c);
    var f = 1.0 - i;
    if (!INPUT_FORGET) {
        f = f_of(old.d, a.y + old.peephole.y * old.c);
    }
    let c = f * old.c + i * g_of(old.d, a.z);
    let o = f_of(old.d, a.w + old.peephole.z * c);
    return State(o * h_of(old.d, c), c, old.peephole, old.d);
}
