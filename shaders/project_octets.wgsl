// The input product of a whole chunk, where lanes of a subgroup lend each other what they load:
//
//   gx[s, b, d, u] = W_ih[d]·x[time_of(s, d, b), b] + b_ih[d]      for every step s of the chunk
//
// Rows are the chunk's (s, b) pairs, columns the units with their gates side by side; z is the direction. An invocation owns one
// unit of sixteen rows, two octets (octet.wgsl), and the whole of its sums. The CPU twin is cpu/reference/project.rs.

const TILE_UNITS = 32u;
const TILE_ROWS = 16u;

fn load_octet(row: u32, rows: u32, d: u32, u: u32) -> Octet {
    return Octet(
        load_gx(row, rows, d, u),
        load_gx(row + 1u, rows, d, u),
        load_gx(row + 2u, rows, d, u),
        load_gx(row + 3u, rows, d, u),
        load_gx(row + 4u, rows, d, u),
        load_gx(row + 5u, rows, d, u),
        load_gx(row + 6u, rows, d, u),
        load_gx(row + 7u, rows, d, u),
    );
}

fn store_octet(row: u32, rows: u32, d: u32, u: u32, sum: Octet) {
    store_gx(row, rows, d, u, sum.r0);
    store_gx(row + 1u, rows, d, u, sum.r1);
    store_gx(row + 2u, rows, d, u, sum.r2);
    store_gx(row + 3u, rows, d, u, sum.r3);
    store_gx(row + 4u, rows, d, u, sum.r4);
    store_gx(row + 5u, rows, d, u, sum.r5);
    store_gx(row + 6u, rows, d, u, sum.r6);
    store_gx(row + 7u, rows, d, u, sum.r7);
}

@compute @workgroup_size(32, 1, 1)
fn project_octets(
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let d = enter(group.z);
    let u = group.x * TILE_UNITS + local.x;
    let rows = chunk.steps * params.batch;
    let row = group.y * TILE_ROWS;
    // Every lane has to load, those beyond the last row or unit as well; what they load is not used.
    let row_a = min(row + lane % 8u, rows - 1u);
    let row_b = min(row + 8u + lane % 8u, rows - 1u);
    let x_a = x_offset(row_a, d);
    let x_b = x_offset(row_b, d);
    let first = first_weight(d, min(u, params.hidden_size - 1u), chunk.input_size);

    var a = load_octet(row, rows, d, u);
    var b = load_octet(row + 8u, rows, d, u);
    for (var k = params.chunks[0].k_first; k < params.chunks[0].k_end; k++) {
        let w = unpack_weights(w_ih[first + k * BLOCK]);
        add_octet(&a, x_or_zero(x_a, k, row_a, rows), w);
        add_octet(&b, x_or_zero(x_b, k, row_b, rows), w);
    }
    if (u < params.hidden_size) {
        store_octet(row, rows, d, u, a);
        store_octet(row + 8u, rows, d, u, b);
    }
}
