// The input product of a whole chunk, where lanes of a subgroup lend each other what they load:
//
//   gx[s, b, d, u] = W_ih[d]·x[time_of(s, d, b), b] + b_ih[d]      for every step s of the chunk
//
// Rows are the chunk's (s, b) pairs, columns the units with their gates side by side; z is the direction. A workgroup owns 2·UNITS
// units of OCTETS·8 rows, an invocation two units of all of these rows, and the whole of their sums. The CPU twin is
// cpu/reference/project.rs; octets.wgsl says how rows are loaded.

// Units behind the last read its weights, and drop their sums.
fn weights_of(d: u32, u: u32) -> u32 {
    return first_weight(d, min(u, params.hidden_size - 1u), chunk.input_size);
}

@compute @workgroup_size(UNITS, 1, 1)
fn project_octets(
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let d = enter(group.z);
    let u = group.x * 2u * UNITS + local.x;
    let first_row = group.y * OCTETS * 8u;
    // Every lane has to load, those beyond the last row or unit as well; what they load is not used.
    var rows: array<u32, 4>;
    for (var octet = 0u; octet < 4u; octet++) {
        rows[octet] = x_row(first_row + octet * 8u + lane % 8u, d);
    }
    sum_octets(local.x, weights_of(d, u), weights_of(d, u + UNITS), rows);
    for (var i = 0u; i < OCTETS * 16u; i++) {
        let row = first_row + i / 2u;
        let unit = u + i % 2u * UNITS;
        if (row < row_count() && unit < params.hidden_size) {
            let at = gx_index(row, d, unit);
            gx[at] = pack_gates(sum_of_row(local.x + i % 2u * UNITS, i / 2u) + start_of(at, d, unit));
        }
    }
}
