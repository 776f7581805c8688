// The one gate of an RNN.

/// The only pre-activation of a unit.
alias Gates = f32;

alias PackedGates = f32;

fn unpack_gates(packed: PackedGates) -> Gates {
    return packed;
}

fn pack_gates(gates: Gates) -> PackedGates {
    return gates;
}

// Returns the sum of the products of all gates.
fn dot_gates(w: Gates, d: Gates) -> f32 {
    return w * d;
}
