// The weights of the gates of one unit lie in a buffer as the gates themselves.
//
// Needs: `Gates`, `PackedGates`, `unpack_gates` from cell/.

alias PackedWeights = PackedGates;

fn unpack_weights(packed: PackedWeights) -> Gates {
    return unpack_gates(packed);
}
