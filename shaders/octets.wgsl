// Rows by the eight, for kernels in which an invocation owns one unit of many rows and the lanes of a subgroup lend each other what
// they load: each lane loads the value of one row of an octet, and hands it to the others. So eight values cost one load, and
// nothing is staged or waited for. A subgroup has eight lanes at least, all of them active.
//
// A kernel says how its rows and weights are read, `value_at` and `weights_at`.

override OCTETS: u32; // 1, 2 or 4
override UNITS: u32;

// The sums [OCTETS·8, UNITS] when they are done: each invocation reads its own alone, row by row.
var<workgroup> sums_of_rows: array<Gates, OCTETS * 8u * UNITS>;

/// The sums of one unit of eight rows.
alias Octet = array<Gates, 8>;

fn add_term(sum: Octet, at: u32, w: Gates) -> Octet {
    let loaded = value_at(at);
    return Octet(
        sum[0] + subgroupBroadcast(loaded, 0u) * w,
        sum[1] + subgroupBroadcast(loaded, 1u) * w,
        sum[2] + subgroupBroadcast(loaded, 2u) * w,
        sum[3] + subgroupBroadcast(loaded, 3u) * w,
        sum[4] + subgroupBroadcast(loaded, 4u) * w,
        sum[5] + subgroupBroadcast(loaded, 5u) * w,
        sum[6] + subgroupBroadcast(loaded, 6u) * w,
        sum[7] + subgroupBroadcast(loaded, 7u) * w,
    );
}

fn add_products(sum: Gates, v: vec4<f32>, w: array<Gates, 4>) -> Gates {
    return (((sum + v.x * w[0]) + v.y * w[1]) + v.z * w[2]) + v.w * w[3];
}

fn add_four_terms(sum: Octet, at: u32, w: array<Gates, 4>) -> Octet {
    let loaded = vec4<f32>(value_at(at), value_at(at + 1u), value_at(at + 2u), value_at(at + 3u));
    return Octet(
        add_products(sum[0], subgroupBroadcast(loaded, 0u), w),
        add_products(sum[1], subgroupBroadcast(loaded, 1u), w),
        add_products(sum[2], subgroupBroadcast(loaded, 2u), w),
        add_products(sum[3], subgroupBroadcast(loaded, 3u), w),
        add_products(sum[4], subgroupBroadcast(loaded, 4u), w),
        add_products(sum[5], subgroupBroadcast(loaded, 5u), w),
        add_products(sum[6], subgroupBroadcast(loaded, 6u), w),
        add_products(sum[7], subgroupBroadcast(loaded, 7u), w),
    );
}

fn leave_octet(unit: u32, octet: u32, sum: Octet) {
    let at = octet * 8u * UNITS + unit;
    sums_of_rows[at] = sum[0];
    sums_of_rows[at + UNITS] = sum[1];
    sums_of_rows[at + 2u * UNITS] = sum[2];
    sums_of_rows[at + 3u * UNITS] = sum[3];
    sums_of_rows[at + 4u * UNITS] = sum[4];
    sums_of_rows[at + 5u * UNITS] = sum[5];
    sums_of_rows[at + 6u * UNITS] = sum[6];
    sums_of_rows[at + 7u * UNITS] = sum[7];
}

/// Adds the products for k in k_first..k_end to `start`, of one unit of the workgroup and all rows, and leaves them in sums_of_rows.
/// `rows` is where the row that this lane loads begins, of each octet.
///
/// Four terms at a time: the sums of many octets are more than a CPU's registers, and are so fetched and left once for four terms.
fn sum_octets(unit: u32, start: Gates, rows: array<u32, 4>, first_weight: u32, k_first: u32, k_end: u32) {
    let octet = Octet(start, start, start, start, start, start, start, start);
    var sums = array<Octet, 4>(octet, octet, octet, octet);
    var at = first_weight + k_first * BLOCK;
    var k = k_first;
    for (; k + 4u <= k_end; k += 4u) {
        let w = array<Gates, 4>(
            weights_at(at),
            weights_at(at + BLOCK),
            weights_at(at + 2u * BLOCK),
            weights_at(at + 3u * BLOCK),
        );
        at += 4u * BLOCK;
        sums[0] = add_four_terms(sums[0], rows[0] + k, w);
        if (OCTETS > 1u) {
            sums[1] = add_four_terms(sums[1], rows[1] + k, w);
        }
        if (OCTETS > 2u) {
            sums[2] = add_four_terms(sums[2], rows[2] + k, w);
            sums[3] = add_four_terms(sums[3], rows[3] + k, w);
        }
    }
    for (; k < k_end; k++) {
        let w = weights_at(at);
        at += BLOCK;
        sums[0] = add_term(sums[0], rows[0] + k, w);
        if (OCTETS > 1u) {
            sums[1] = add_term(sums[1], rows[1] + k, w);
        }
        if (OCTETS > 2u) {
            sums[2] = add_term(sums[2], rows[2] + k, w);
            sums[3] = add_term(sums[3], rows[3] + k, w);
        }
    }
    leave_octet(unit, 0u, sums[0]);
    if (OCTETS > 1u) {
        leave_octet(unit, 1u, sums[1]);
    }
    if (OCTETS > 2u) {
        leave_octet(unit, 2u, sums[2]);
        leave_octet(unit, 3u, sums[3]);
    }
}

fn sum_of_row(unit: u32, row: u32) -> Gates {
    return sums_of_rows[row * UNITS + unit];
}
