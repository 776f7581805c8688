// The four gates of an LSTM.

/// The pre-activations of one unit in PyTorch's gate order: i, f, g, o.
alias Gates = vec4<f32>;

/// The gates of one unit in a buffer.
alias PackedGates = vec4<f32>;

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
