// The operand of the second product in all rows of a chunk: what the reset gate lets through of h.
//
// Needs: `gx_index` from base/chunk_rows.wgsl; `gates` from the bindings of the role.

// Returns the index at which the vector of a row begins.
fn operand_start(row: u32, d: u32) -> u32 {
    return gx_index(row, d, 0u);
}

// Returns an element by its index.
fn value_at(at: u32) -> f32 {
    return gates[at].gated;
}
