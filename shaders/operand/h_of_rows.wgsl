// The operand of the recurrent product in all rows of a chunk: h before each step.
//
// Needs: `params` from base/params.wgsl; `step_of` from base/chunk_rows.wgsl; `h_before_row` from
// operand/h_before.wgsl.

// Returns the index at which the vector of a row begins.
fn operand_start(row: u32, d: u32) -> u32 {
    return h_before_row(step_of(row), d, row % params.batch);
}
