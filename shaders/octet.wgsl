// Rows by the eight, for kernels in which an invocation owns one unit of many rows and the lanes of a subgroup lend each other what
// they load: each lane loads the value of one row of an octet, and hands it to the others. So eight values cost one load, and
// nothing is staged or waited for. A subgroup has eight lanes at least, all of them active.

/// The sums of one unit of eight rows.
struct Octet {
    r0: Gates,
    r1: Gates,
    r2: Gates,
    r3: Gates,
    r4: Gates,
    r5: Gates,
    r6: Gates,
    r7: Gates,
}

/// Adds w times the value of each row, which is the one that the lane of the row's number has loaded.
fn add_octet(sum: ptr<function, Octet>, loaded: f32, w: Gates) {
    (*sum).r0 += subgroupBroadcast(loaded, 0u) * w;
    (*sum).r1 += subgroupBroadcast(loaded, 1u) * w;
    (*sum).r2 += subgroupBroadcast(loaded, 2u) * w;
    (*sum).r3 += subgroupBroadcast(loaded, 3u) * w;
    (*sum).r4 += subgroupBroadcast(loaded, 4u) * w;
    (*sum).r5 += subgroupBroadcast(loaded, 5u) * w;
    (*sum).r6 += subgroupBroadcast(loaded, 6u) * w;
    (*sum).r7 += subgroupBroadcast(loaded, 7u) * w;
}
