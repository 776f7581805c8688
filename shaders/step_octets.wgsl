// One time step of one layer, all directions, of many rows: the recurrent product of all gates fused with the cell.
//
//   gh = W_hh[d]·h(s-1) + b_hh[d]        (h, c)(s) = cell(gx[s], gh, (h, c)(s-1))
//
// A workgroup owns 2·UNITS hidden units of OCTETS·8 batch rows, an invocation two units of all of these rows, and the whole of their
// sums. A weight that is loaded is used for all of them: this is the kernel where loads are what takes the time. The CPU twin is
// cpu/reference/step.rs; octets.wgsl says how rows are loaded.

@compute @workgroup_size(UNITS, 1, 1)
fn step_octets(
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let d = enter(group.z);
    let s = chunk.first_step + step_in_chunk.index;
    let u = group.x * 2u * UNITS + local.x;
    let first_row = group.y * OCTETS * 8u;
    // Every lane has to load, those beyond the last row or unit as well; what they load is not used.
    var rows: array<u32, 4>;
    for (var octet = 0u; octet < 4u; octet++) {
        rows[octet] = h_row(s, d, first_row + octet * 8u + lane % 8u);
    }
    // Units behind the last read its weights, and drop their sums.
    let a = first_recurrent_weight(d, min(u, params.hidden_size - 1u));
    let b = first_recurrent_weight(d, min(u + UNITS, params.hidden_size - 1u));
    sum_octets(local.x, a, b, rows);
    for (var i = 0u; i < OCTETS * 16u; i++) {
        let row = first_row + i / 2u;
        let unit = u + i % 2u * UNITS;
        if (is_there(row, unit)) {
            finish(s, d, row, unit, begin(s, d, row, unit), sum_of_row(local.x + i % 2u * UNITS, i / 2u));
        }
    }
}
