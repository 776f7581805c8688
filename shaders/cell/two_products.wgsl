// The parts shared by the two products of a GRU that has two per step.
//
// Needs: `params` from base/params.wgsl; `raw_index` from step/recurrence.wgsl.

const READS_H = true;

@group(0) @binding(6) var<storage, read_write> gated: array<f32>; // [2, B, D, H]: r ⊙ h(s-1), and z

// Returns the index of z, which follows r ⊙ h.
fn update_index(d: u32, b: u32, u: u32) -> u32 {
    return params.batch * params.directions * params.hidden_size + raw_index(d, b, u);
}
