// How the weights of the gates of one unit lie in a buffer: as the gates themselves.
alias PackedWeights = PackedGates;

fn unpack_weights(packed: PackedWeights) -> Gates {
    return unpack_gates(packed);
}
