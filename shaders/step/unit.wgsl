// Shared by the kernels of one time step: the work on a unit of a row before and after its product.
//
// Needs: `params`, `chunk` from base/params.wgsl; `length_of`, `h_before` from base/rows.wgsl; `step_in_chunk` from
// base/step.wgsl; `Gates`, `READS_H` from cell/; `operand_row` from operand/; `h`, `HANDS_ON`, `Pending`,
// `load_pending`, `apply_cell`, `keep_state`, `leave_state` from step/recurrence.wgsl; `leave_padding` from
// step/leave_h.wgsl.

// Returns true if a unit of a row has to be finished: both it and the step exist. In a wave, a layer at its last chunk
// may have fewer steps than the others.
fn is_there(b: u32, u: u32) -> bool {
    return u < params.hidden_size && b < params.batch && step_in_chunk.index < chunk.steps;
}

// Returns the starts of the vectors that the weights multiply, for four rows. Rows past the last one are clamped to it:
// what is loaded there is not used.
fn operand_rows(s: u32, d: u32, b: u32) -> vec4<u32> {
    let last = params.batch - 1u;
    return vec4<u32>(
        operand_row(s, d, min(b, last)),
        operand_row(s, d, min(b + 1u, last)),
        operand_row(s, d, min(b + 2u, last)),
        operand_row(s, d, min(b + 3u, last)),
    );
}

// Loads the inputs of the cell, for an invocation that will finish an existing unit of a row.
fn begin(s: u32, d: u32, b: u32, u: u32) -> Pending {
    var own_h = 0.0;
    if (READS_H) {
        own_h = h[h_before(s, d, b, u)];
    }
    return load_pending(s, step_in_chunk.index, d, b, u, own_h);
}

fn finish(s: u32, d: u32, b: u32, u: u32, pending: Pending, product: Gates) {
    if (s < length_of(b)) {
        leave_state(s, d, b, u, apply_cell(pending, product));
    } else {
        keep_state(s, d, b, u);
        // The last kernel of a step writes the padding.
        if (!HANDS_ON) {
            leave_padding(s, d, b, u);
        }
    }
}
