// The weights of four gates of one unit as f16: half the bytes, and the sums stay f32. Unpacking is core WGSL, so that
// no feature is asked for.
//
// Needs: `Gates` from cell/.

alias PackedWeights = vec2<u32>;

fn unpack_weights(packed: PackedWeights) -> Gates {
    return vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
}
