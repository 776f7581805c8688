// The weights of three gates of one unit as f16, in the space of four: two thirds of the bytes.
//
// Needs: `Gates` from cell/.

alias PackedWeights = vec2<u32>;

fn unpack_weights(packed: PackedWeights) -> Gates {
    return vec3<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y).x);
}
