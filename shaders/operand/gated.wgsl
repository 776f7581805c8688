// The vector that the weights of a step's second product multiply: what the first has left of h.
//
// Needs: `gated` from cell/; `raw_index` from step/recurrence.wgsl.

// An element by its place in the binding.
fn value_at(at: u32) -> f32 {
    return gated[at];
}

// Returns where the vector of a row begins.
fn operand_row(s: u32, d: u32, b: u32) -> u32 {
    return raw_index(d, b, 0u);
}
