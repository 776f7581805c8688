// Rows by the eight, for kernels in which an invocation owns two units of many rows and the lanes of a subgroup lend each other
// what they load: each lane loads the value of one row of an octet, and hands it to the others. So eight values cost one load, and
// nothing is staged or waited for. A subgroup has eight lanes at least, and its first eight are active.
//
// How weights and rows are read, `weights_at` and `value_at`, and which k there are, is said by what all kernels of a role share.

override OCTETS: u32; // 1, 2 or 4
override UNITS: u32; // half of the hidden units of a workgroup

// The sums [OCTETS·8, 2·UNITS] when they are done: each invocation reads its own alone, row by row.
var<workgroup> sums_of_rows: array<Gates, OCTETS * 8u * 2u * UNITS>;

/// The sums of one unit of eight rows.
alias Octet = array<Gates, 8>;

/// Those of all rows; OCTETS of them are used.
alias Octets = array<Octet, 4>;

/// Of each octet, four values of the row that this lane loads.
alias Values = array<vec4<f32>, 4>;

/// The weights of one unit for four terms.
alias Weights = array<Gates, 4>;

fn four_values(at: u32) -> vec4<f32> {
    return vec4<f32>(value_at(at), value_at(at + 1u), value_at(at + 2u), value_at(at + 3u));
}

fn four_weights(at: u32) -> Weights {
    return Weights(
        weights_at(at),
        weights_at(at + BLOCK),
        weights_at(at + 2u * BLOCK),
        weights_at(at + 3u * BLOCK),
    );
}

fn add_products(sum: Gates, v: vec4<f32>, w: Weights) -> Gates {
    return (((sum + v.x * w[0]) + v.y * w[1]) + v.z * w[2]) + v.w * w[3];
}

fn add_to_octet(sum: Octet, loaded: vec4<f32>, w: Weights) -> Octet {
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

/// Adds four terms to the sums of one unit.
fn add_terms(sums: Octets, values: Values, w: Weights) -> Octets {
    var added = sums;
    added[0] = add_to_octet(sums[0], values[0], w);
    if (OCTETS > 1u) {
        added[1] = add_to_octet(sums[1], values[1], w);
    }
    if (OCTETS > 2u) {
        added[2] = add_to_octet(sums[2], values[2], w);
        added[3] = add_to_octet(sums[3], values[3], w);
    }
    return added;
}

fn leave_octet(at: u32, sum: Octet) {
    sums_of_rows[at] = sum[0];
    sums_of_rows[at + 2u * UNITS] = sum[1];
    sums_of_rows[at + 4u * UNITS] = sum[2];
    sums_of_rows[at + 6u * UNITS] = sum[3];
    sums_of_rows[at + 8u * UNITS] = sum[4];
    sums_of_rows[at + 10u * UNITS] = sum[5];
    sums_of_rows[at + 12u * UNITS] = sum[6];
    sums_of_rows[at + 14u * UNITS] = sum[7];
}

fn leave_sums(unit: u32, sums: Octets) {
    leave_octet(unit, sums[0]);
    if (OCTETS > 1u) {
        leave_octet(unit + 16u * UNITS, sums[1]);
    }
    if (OCTETS > 2u) {
        leave_octet(unit + 32u * UNITS, sums[2]);
        leave_octet(unit + 48u * UNITS, sums[3]);
    }
}

/// Adds the products for all k, of two units of the workgroup, `unit` and the one UNITS further, and all rows, and leaves them in
/// sums_of_rows. `first_a` and `first_b` are where the weights of the two begin, `rows` where the row that this lane loads begins, of
/// each octet.
///
/// Four terms at a time: the sums of many octets are more than a CPU's registers, and are so fetched and left once for four terms.
fn sum_octets(unit: u32, first_a: u32, first_b: u32, rows: array<u32, 4>) {
    var sums_a = Octets();
    var sums_b = Octets();
    // Carried on, as a CPU's compiler would work them out from k anew for each lane.
    var at_a = first_a + first_k() * BLOCK;
    var at_b = first_b + first_k() * BLOCK;
    var values: Values;
    var k = first_k();
    for (; k + 4u <= end_k(); k += 4u) {
        values[0] = four_values(rows[0] + k);
        if (OCTETS > 1u) {
            values[1] = four_values(rows[1] + k);
        }
        if (OCTETS > 2u) {
            values[2] = four_values(rows[2] + k);
            values[3] = four_values(rows[3] + k);
        }
        sums_a = add_terms(sums_a, values, four_weights(at_a));
        sums_b = add_terms(sums_b, values, four_weights(at_b));
        at_a += 4u * BLOCK;
        at_b += 4u * BLOCK;
    }
    // The last terms, each with three that are zero.
    for (; k < end_k(); k++) {
        for (var octet = 0u; octet < 4u; octet++) {
            values[octet] = vec4<f32>(value_at(rows[octet] + k), 0.0, 0.0, 0.0);
        }
        sums_a = add_terms(sums_a, values, Weights(weights_at(at_a), Gates(), Gates(), Gates()));
        sums_b = add_terms(sums_b, values, Weights(weights_at(at_b), Gates(), Gates(), Gates()));
        at_a += BLOCK;
        at_b += BLOCK;
    }
    leave_sums(unit, sums_a);
    leave_sums(unit + UNITS, sums_b);
}

fn sum_of_row(unit: u32, row: u32) -> Gates {
    return sums_of_rows[row * 2u * UNITS + unit];
}
