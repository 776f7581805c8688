// The vector that the weights of a step multiply: h of the step before.
//
// Needs: `h_before` from base/rows.wgsl; `h` from step/recurrence.wgsl.

// An element by its place in the binding.
fn value_at(at: u32) -> f32 {
    return h[at];
}

// Returns where the vector of a row begins.
fn operand_row(s: u32, d: u32, b: u32) -> u32 {
    return h_before(s, d, b, 0u);
}
