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
