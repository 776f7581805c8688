// Shared by the kernels of the recurrence: buffers, the location of h of the previous step, and the work before and
// after the recurrent product.
//
// Needs: `params`, `chunk` from base/params.wgsl; `y_index` from base/rows.wgsl; `InputGates`, `PackedInputGates`,
// `unpack_input_gates`, `Gates`, `PackedGates`, `unpack_gates`, `State`, `load_state`, `store_state`, `hand_on`, `cell`
// from cell/; `PackedWeights`, `unpack_weights` from weights/; `first_weight` from weights/blocks.wgsl; `leave_h` from
// step/leave_h.wgsl.

// True if another kernel follows in the same step: the projection of h, or the second product of a cell that has two.
// That kernel writes y and h_n, and reads what `hand_on` leaves.
override HANDS_ON: bool;

// In a wave, gx, w_hh, b_hh and y hold all layers, one after another.
@group(0) @binding(0) var<storage, read> gx: array<PackedInputGates>; // [steps, B, D, H] of G
@group(0) @binding(1) var<storage, read> w_hh: array<PackedWeights>; // [D, H / 8, P (k), 8] of G
@group(0) @binding(2) var<storage, read> b_hh: array<PackedGates>;  // [D, H] of G
@group(0) @binding(3) var<storage, read_write> h: array<f32>;       // [2, L, D, state_rows, P], see h_before
@group(0) @binding(4) var<storage, read_write> y: array<f32>;       // [T, B, D, P] or [B, T, D, P], by y_stride_*
// h_n [L, D, state_rows, P]; before a projection raw [B, D, H]
@group(0) @binding(5) var<storage, read_write> h_out: array<f32>;

// Returns the index of a unit of a row and direction in what is handed on, [B, D, H].
fn raw_index(d: u32, b: u32, u: u32) -> u32 {
    return (b * params.directions + d) * params.hidden_size + u;
}

// Returns the first k of the recurrent product.
fn first_k() -> u32 {
    return 0u;
}

fn end_k() -> u32 {
    return params.recurrent_size;
}

// Returns the index at which the recurrent weights of a unit begin.
fn first_recurrent_weight(d: u32, u: u32) -> u32 {
    return chunk.w_offset + first_weight(d, u, params.recurrent_size);
}

// Returns the weights of a unit by their index in the binding.
fn weights_at(at: u32) -> Gates {
    return unpack_weights(w_hh[at]);
}

// The inputs of the cell of one unit of one row other than W_hh·h. None of them depends on that product, so most
// kernels load them before it.
struct Pending {
    gx: InputGates,
    b_hh: Gates,
    old: State,
}

// Returns gx of step number `index` of the chunk.
fn input_gates(index: u32, d: u32, b: u32, u: u32) -> InputGates {
    let row = (index * params.batch + b) * params.directions + d;
    return unpack_input_gates(gx[chunk.gx_offset + row * params.hidden_size + u]);
}

// Loads the inputs of the cell. `index` is the index of step s in its chunk; own_h is h(s-1) of this unit if the cell
// READS_H.
fn load_pending(s: u32, index: u32, d: u32, b: u32, u: u32, own_h: f32) -> Pending {
    return Pending(
        input_gates(index, d, b, u),
        unpack_gates(b_hh[chunk.b_offset + d * params.hidden_size + u]),
        load_state(own_h, s, d, b, u),
    );
}

// Keeps the state in a step past the row's end, where the states of all steps are wanted.
fn keep_state(s: u32, d: u32, b: u32, u: u32) {
    if (params.c_stride_s > 0u) {
        store_state(load_state(0.0, s, d, b, u), s, d, b, u);
    }
}

// Applies the cell to W_hh·h and returns the new state.
fn apply_cell(pending: Pending, product: Gates) -> State {
    return cell(pending.gx, product + pending.b_hh, pending.old);
}

// Stores the new state for the next step and the caller.
fn leave_state(s: u32, d: u32, b: u32, u: u32, state: State) {
    store_state(state, s, d, b, u);
    if (HANDS_ON) {
        hand_on(state, d, b, u);
        return;
    }
    y[y_index(s, d, b, u)] = state.h;
    leave_h(s, d, b, u, state.h);
}
