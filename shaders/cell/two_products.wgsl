// A GRU whose step has two recurrent products: what they share.
//
// Needs: `params` from base/params.wgsl; `raw_index` from step/recurrence.wgsl.

/// The input's part of the pre-activations of one unit: r, z, n.
alias InputGates = vec3<f32>;

struct PackedInputGates {
    r: f32,
    z: f32,
    n: f32,
}

fn unpack_input_gates(packed: PackedInputGates) -> InputGates {
    return vec3<f32>(packed.r, packed.z, packed.n);
}

const READS_H = true;

@group(0) @binding(6) var<storage, read_write> gated: array<f32>; // [2, B, D, H]: r ⊙ h(s-1), and z

// Returns where z lies behind r ⊙ h.
fn update_index(d: u32, b: u32, u: u32) -> u32 {
    return params.batch * params.directions * params.hidden_size + raw_index(d, b, u);
}
