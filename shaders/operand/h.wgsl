// The vector that the weights of a step multiply: h of the previous step.
//
// Needs: `h_before` from base/rows.wgsl; `h` from step/recurrence.wgsl.

// Returns an element by its index in the binding.
fn value_at(at: u32) -> f32 {
    return h[at];
}

// Returns the index at which the vector of a row begins.
fn operand_row(s: u32, d: u32, b: u32) -> u32 {
    return h_before(s, d, b, 0u);
}
