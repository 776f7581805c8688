// The rows of a chunk: its (s, b) pairs.
//
// Needs: `params`, `chunk` from base/params.wgsl; `length_of` from base/rows.wgsl.

fn row_count() -> u32 {
    return chunk.steps * params.batch;
}

// Returns the step of a row.
fn step_of(row: u32) -> u32 {
    return chunk.first_step + row / params.batch;
}

// Returns true if the row is a step of a sequence, not padding.
fn is_step(row: u32) -> bool {
    return row < row_count() && step_of(row) < length_of(row % params.batch);
}

// Returns the index of a unit's values in [steps, B, D, H].
fn gx_index(row: u32, d: u32, u: u32) -> u32 {
    return chunk.gx_offset + (row * params.directions + d) * params.hidden_size + u;
}
