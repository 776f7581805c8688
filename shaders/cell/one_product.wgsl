// A cell whose step has one recurrent product, which yields every gate of the input product.
//
// Needs: `Gates`, `PackedGates`, `unpack_gates`, `State` from cell/; `h_out`, `raw_index` from step/recurrence.wgsl.

alias InputGates = Gates;
alias PackedInputGates = PackedGates;

fn unpack_input_gates(packed: PackedInputGates) -> InputGates {
    return unpack_gates(packed);
}

// Leaves h for its projection.
fn hand_on(state: State, d: u32, b: u32, u: u32) {
    h_out[raw_index(d, b, u)] = state.h;
}
