// One time step of one layer, all directions, of a single row: the recurrent product of all gates fused with the cell.
//
//   gh = W_hh[d]·h(s-1) + b_hh[d]        (h, c)(s) = cell(gx[s], gh, (h, c)(s-1))
//
// An invocation owns one of UNITS hidden units, and the whole of its sum. The lanes of a subgroup, eight at least, lend each other h:
// each loads one of eight values, so that eight terms cost one load of h. The CPU twin is cpu/reference/step.rs; step_row.wgsl is
// the kernel where many invocations share a sum, and octets.wgsl lends rows.

override UNITS: u32;

@compute @workgroup_size(UNITS, 1, 1)
fn step_row_lent(
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let d = enter(group.z);
    let s = chunk.first_step + step_in_chunk.index;
    // A grid of rows: of streams, one slot's push is a row, and so is each slot's of many.
    let b = group.y;
    let u = group.x * UNITS + local.x;

    let h_row = h_before(s, d, b, 0u);
    // Every lane has to load, those beyond the last unit as well.
    var at = first_recurrent_weight(d, min(u, params.hidden_size - 1u));
    var sum = Gates();
    var k = 0u;
    for (; k + 8u <= params.recurrent_size; k += 8u) {
        let lent = h[h_row + k + lane % 8u];
        sum += subgroupBroadcast(lent, 0u) * weights_at(at);
        sum += subgroupBroadcast(lent, 1u) * weights_at(at + BLOCK);
        sum += subgroupBroadcast(lent, 2u) * weights_at(at + 2u * BLOCK);
        sum += subgroupBroadcast(lent, 3u) * weights_at(at + 3u * BLOCK);
        sum += subgroupBroadcast(lent, 4u) * weights_at(at + 4u * BLOCK);
        sum += subgroupBroadcast(lent, 5u) * weights_at(at + 5u * BLOCK);
        sum += subgroupBroadcast(lent, 6u) * weights_at(at + 6u * BLOCK);
        sum += subgroupBroadcast(lent, 7u) * weights_at(at + 7u * BLOCK);
        at += 8u * BLOCK;
    }
    for (; k < params.recurrent_size; k++) {
        sum += h[h_row + k] * weights_at(at);
        at += BLOCK;
    }
    if (is_there(b, u)) {
        finish(s, d, b, u, begin(s, d, b, u), sum);
    }
}
