// The weights of two gates of one unit as f16: half the bytes; the sums stay f32.
//
// Needs: `Gates` from cell/.

alias PackedWeights = u32;

fn unpack_weights(packed: PackedWeights) -> Gates {
    return unpack2x16float(packed);
}
