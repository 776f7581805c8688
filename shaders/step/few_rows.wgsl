// One time step of one layer, all directions, of a few rows: the recurrent product of all gates fused with the cell.
//
//   gh = W_hh[d]·h(s-1) + b_hh[d]        (h, c)(s) = cell(gx[s], gh, (h, c)(s-1))
//
// product/few_rows.wgsl says who sums what. The CPU twin is cpu/reference/step.rs.
//
// Needs: `params`, `enter` from base/params.wgsl; `current_step` from base/step.wgsl; `UNITS`, `ROW_TILES`, `SPLIT`,
// `staged_row`, `sum_products` from product/few_rows.wgsl; `Pending`, `first_recurrent_weight` from
// step/recurrence.wgsl; `is_there`, `operand_rows`, `begin`, `finish` from step/unit.wgsl.

@compute @workgroup_size(UNITS, ROW_TILES, SPLIT)
fn step_few_rows(
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(workgroup_id) group: vec3<u32>,
) {
    let d = enter(group.z);
    let s = current_step();
    let u = group.x * UNITS + local.x;
    let first_row = group.y * ROW_TILES * 4u;
    let b = first_row + local.y * 4u + local.z;
    let finishes = local.z < 4u && is_there(b, u);
    var pending: Pending;
    if (finishes) {
        pending = begin(s, d, b, u);
    }
    let staged = operand_rows(s, d, first_row + staged_row(index));
    // Units behind the last read its weights, and drop their sums.
    let product = sum_products(local, index, staged, first_recurrent_weight(d, min(u, params.hidden_size - 1u)));
    if (finishes) {
        finish(s, d, b, u, pending, product);
    }
}
