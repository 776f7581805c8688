// One time step of one layer, all directions, of a single row: the recurrent product of all gates fused with the cell.
//
//   gh = W_hh[d]·h(s-1) + b_hh[d]        (h, c)(s) = cell(gx[s], gh, (h, c)(s-1))
//
// With one row only units and k are parallel. SPLIT invocations share the sum over k of a unit: invocation z takes k =
// z, z + SPLIT, …, and the SPLIT partial sums are added in an order of their own, so the result is the same on every
// run. Every weight is used once, so nothing is gained by staging h: it is read where it is. The CPU twin is
// cpu/reference/step.rs.
//
// Needs: `params`, `enter` from base/params.wgsl; `current_step` from base/step.wgsl; `Gates` from cell/; `BLOCK` from
// weights/blocks.wgsl; `value_at`, `operand_row` from operand/; `Pending`, `first_recurrent_weight`, `weights_at` from
// step/recurrence.wgsl; `is_there`, `begin`, `finish` from step/unit.wgsl.

override UNITS: u32;
override SPLIT: u32;
const FIRST = 4u;

var<workgroup> partial: array<Gates, SPLIT * UNITS>; // [SPLIT, UNITS]

@compute @workgroup_size(UNITS, 1, SPLIT)
fn step_one_row(
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(workgroup_id) group: vec3<u32>,
) {
    let d = enter(group.z);
    let s = current_step();
    // A grid of rows: of streams, one slot's push is a row, and so is each slot's of many.
    let b = group.y;
    let u = group.x * UNITS + local.x;

    let finishes = local.z == 0u && is_there(b, u);
    var pending: Pending;
    if (finishes) {
        pending = begin(s, d, b, u);
    }
    var acc = Gates();
    if (u < params.hidden_size) {
        let row = operand_row(s, d, b);
        let first = first_recurrent_weight(d, u);
        // Four at a time, so that their loads are under way together; one after the other they would be waited for in
        // turn.
        let whole = params.recurrent_size / (4u * SPLIT) * (4u * SPLIT);
        for (var k0 = 0u; k0 < whole; k0 += 4u * SPLIT) {
            let k = k0 + local.z;
            let h0 = value_at(row + k);
            let h1 = value_at(row + k + SPLIT);
            let h2 = value_at(row + k + 2u * SPLIT);
            let h3 = value_at(row + k + 3u * SPLIT);
            let at = first + k * BLOCK;
            let stride = SPLIT * BLOCK;
            let w0 = weights_at(at);
            let w1 = weights_at(at + stride);
            let w2 = weights_at(at + 2u * stride);
            let w3 = weights_at(at + 3u * stride);
            acc += h0 * w0;
            acc += h1 * w1;
            acc += h2 * w2;
            acc += h3 * w3;
        }
        for (var k0 = whole; k0 < params.recurrent_size; k0 += SPLIT) {
            let k = k0 + local.z;
            if (k < params.recurrent_size) {
                acc += value_at(row + k) * weights_at(first + k * BLOCK);
            }
        }
    }
    partial[index] = acc;
    workgroupBarrier();
    // In two turns, as the sum of all by one invocation would take longer than the product: the first FIRST add every
    // FIRSTth.
    if (SPLIT > FIRST) {
        if (local.z < FIRST) {
            for (var z = local.z + FIRST; z < SPLIT; z += FIRST) {
                acc += partial[z * UNITS + local.x];
            }
            partial[index] = acc;
        }
        workgroupBarrier();
    }
    if (finishes) {
        for (var z = 1u; z < min(SPLIT, FIRST); z++) {
            acc += partial[z * UNITS + local.x];
        }
        finish(s, d, b, u, pending, acc);
    }
}
