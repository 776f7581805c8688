// The two gates of a GRU that its first product yields, if the reset gate acts before the second.

/// The pre-activations of one unit: r, z.
alias Gates = vec2<f32>;

alias PackedGates = vec2<f32>;

fn unpack_gates(packed: PackedGates) -> Gates {
    return packed;
}

fn pack_gates(gates: Gates) -> PackedGates {
    return gates;
}

// Returns the sum of the products of all gates.
fn dot_gates(w: Gates, d: Gates) -> f32 {
    return dot(w, d);
}
