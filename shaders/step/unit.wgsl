// Shared by the kernels of one time step: the start and the end of a unit of a row, before and after its product.
//
// Needs: `params`, `chunk` from base/params.wgsl; `length_of`, `h_before` from base/rows.wgsl; `step_in_chunk` from
// base/step.wgsl; `Gates`, `READS_H` from cell/; `operand_row` from operand/; `h`, `HANDS_ON`, `Pending`,
// `load_pending`, `apply_cell`, `leave_state` from step/recurrence.wgsl; `leave_padding` from step/leave_h.wgsl.

// Returns true if a unit of a row has to be finished: it is there, and so is the step. In a wave, a layer that is at
// its last chunk may have fewer steps than the others.
fn is_there(b: u32, u: u32) -> bool {
    return u < params.hidden_size && b < params.batch && step_in_chunk.index < chunk.steps;
}

// Returns where the vectors begin that the weights multiply, of four rows. Beyond the last row it is the last: what is
// loaded there is not used.
fn operand_rows(s: u32, d: u32, b: u32) -> vec4<u32> {
    let last = params.batch - 1u;
    return vec4<u32>(
        operand_row(s, d, min(b, last)),
        operand_row(s, d, min(b + 1u, last)),
        operand_row(s, d, min(b + 2u, last)),
        operand_row(s, d, min(b + 3u, last)),
    );
}

// Loads what the cell will need, for an invocation that will finish a unit of a row that is there.
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
    } else if (!HANDS_ON) {
        // c is where it was. The last kernel of a step leaves the padding.
        leave_padding(s, d, b, u);
    }
}
