// The operand of the input product in all rows of a chunk: the features of each step, after dropout.
//
// Needs: `params`, `chunk` from base/params.wgsl; `time_of` from base/rows.wgsl; `step_of` from base/chunk_rows.wgsl;
// `drop_out` from base/dropout.wgsl; `x` from the bindings of the role.

// True if x is the output of the layer below in training mode, see base/dropout.wgsl.
override DROPOUT: bool;

// Returns the index at which the features of a row begin.
fn operand_start(row: u32, d: u32) -> u32 {
    let b = row % params.batch;
    return chunk.x_offset + time_of(step_of(row), d, b) * chunk.x_stride_t + b * chunk.x_stride_b;
}

// Returns an element of x by its index in the binding.
fn value_at(at: u32) -> f32 {
    let value = x[at];
    if (DROPOUT) {
        // The element's index in the output of the layer below, wherever that starts.
        return drop_out(value, at - chunk.x_offset);
    }
    return value;
}
