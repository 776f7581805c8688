// The one weight of a unit as f16, in the place of two: no bytes are saved, but the numbers are those of the other
// cells.
//
// Needs: `Gates` from cell/.

alias PackedWeights = u32;

fn unpack_weights(packed: PackedWeights) -> Gates {
    return unpack2x16float(packed).x;
}
