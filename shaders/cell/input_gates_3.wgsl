// The input's contribution to the gates of a GRU that has two products per step.

/// The input's contribution to the pre-activations of one unit: r, z, n.
alias InputGates = vec3<f32>;

struct PackedInputGates {
    r: f32,
    z: f32,
    n: f32,
}

fn unpack_input_gates(packed: PackedInputGates) -> InputGates {
    return vec3<f32>(packed.r, packed.z, packed.n);
}
