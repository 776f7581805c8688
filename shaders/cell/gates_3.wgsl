// The three gates of a GRU.

/// The pre-activations of one unit in PyTorch's gate order: r, z, n.
alias Gates = vec3<f32>;

/// The gates of one unit in a buffer: three floats, as an array of vec3 would take four.
struct PackedGates {
    r: f32,
    z: f32,
    n: f32,
}

fn unpack_gates(packed: PackedGates) -> Gates {
    return vec3<f32>(packed.r, packed.z, packed.n);
}

fn pack_gates(gates: Gates) -> PackedGates {
    return PackedGates(gates.x, gates.y, gates.z);
}

// Returns the sum of the products of all gates.
fn dot_gates(w: Gates, d: Gates) -> f32 {
    return dot(w, d);
}
