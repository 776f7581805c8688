// One time step of one layer, all directions, of many rows: the recurrent product of all gates fused with the cell.
//
//   gh = W_hh[d]·h(s-1) + b_hh[d]        (h, c)(s) = cell(gx[s], gh, (h, c)(s-1))
//
// A workgroup owns UNITS hidden units of OCTETS·8 batch rows, an invocation one unit of all of these rows, and the whole of its
// sums. A weight that is loaded is used for all of them: this is the kernel where loads are what takes the time. The CPU twin is
// cpu/reference/step.rs; octet.wgsl says how rows are loaded.

override UNITS: u32;
override OCTETS: u32; // 1 or 2

fn finish_row(s: u32, d: u32, b: u32, u: u32, product: Gates) {
    if (is_there(b, u)) {
        finish(s, d, b, u, begin(s, d, b, u), product);
    }
}

fn finish_octet(s: u32, d: u32, b: u32, u: u32, sum: Octet) {
    finish_row(s, d, b, u, sum.r0);
    finish_row(s, d, b + 1u, u, sum.r1);
    finish_row(s, d, b + 2u, u, sum.r2);
    finish_row(s, d, b + 3u, u, sum.r3);
    finish_row(s, d, b + 4u, u, sum.r4);
    finish_row(s, d, b + 5u, u, sum.r5);
    finish_row(s, d, b + 6u, u, sum.r6);
    finish_row(s, d, b + 7u, u, sum.r7);
}

@compute @workgroup_size(UNITS, 1, 1)
fn step_octets(
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let d = enter(group.z);
    let s = chunk.first_step + step_in_chunk.index;
    let u = group.x * UNITS + local.x;
    let row = group.y * OCTETS * 8u;
    // Every lane has to load, those beyond the last row or unit as well; what they load is not used.
    let last_row = params.batch - 1u;
    let h_a = h_before(s, d, min(row + lane % 8u, last_row), 0u);
    let h_b = h_before(s, d, min(row + 8u + lane % 8u, last_row), 0u);
    let first = first_recurrent_weight(d, min(u, params.hidden_size - 1u));

    var a = Octet();
    var b = Octet();
    for (var k = 0u; k < params.recurrent_size; k++) {
        let w = unpack_weights(w_hh[first + k * BLOCK]);
        add_octet(&a, h[h_a + k], w);
        if (OCTETS > 1u) {
            add_octet(&b, h[h_b + k], w);
        }
    }
    finish_octet(s, d, row, u, a);
    if (OCTETS > 1u) {
        finish_octet(s, d, row + 8u, u, b);
    }
}
