// The product of a workgroup that owns UNITS hidden units by ROW_TILES·4 rows, one unit by four rows per invocation.
// SPLIT invocations share the sum over k (split-K): invocation z takes k = z, z + SPLIT, … of every tile, and the SPLIT
// partial sums are added in the order of z, so the result is the same on every run.
//
// Needs: `Gates` from cell/; `BLOCK` from weights/blocks.wgsl; `FourRows`, `add_products` from product/four_rows.wgsl;
// `STAGED`, `row_tile`, `stage_rows` from product/staged_rows.wgsl; `weights_at`, `first_k`, `end_k` from the bindings
// of the role.

override UNITS: u32;
override ROW_TILES: u32; // of four rows
override SPLIT: u32; // at least 4

var<workgroup> partial: array<Gates, SPLIT * ROW_TILES * UNITS>; // [SPLIT, ROW_TILES, UNITS]

// Returns the first of the four rows that this invocation stages, relative to the workgroup's first row.
fn staged_row(index: u32) -> u32 {
    return index / (UNITS * SPLIT) * 4u;
}

// Returns the sum of row r of its four rows to the invocation with z = r < 4. `staged` holds the starts of the rows
// that this invocation stages, `first` the start of its unit's weights; the unit must exist.
fn sum_products(local: vec3<u32>, index: u32, staged: vec4<u32>, first: u32) -> Gates {
    let tile_k = STAGED / ROW_TILES;
    let shares = UNITS * SPLIT;
    var sum = FourRows();
    for (var k0 = first_k(); k0 < end_k(); k0 += tile_k) {
        let depth = min(tile_k, end_k() - k0);
        stage_rows(staged, index / shares * tile_k, k0, depth, index % shares, shares);
        workgroupBarrier();
        let at = first + k0 * BLOCK;
        let row = local.y * tile_k;
        // Two at a time, so that their loads overlap.
        for (var base = 0u; base < depth; base += 2u * SPLIT) {
            let k = base + local.z;
            if (k + SPLIT < depth) {
                let w = weights_at(at + k * BLOCK);
                let next_w = weights_at(at + (k + SPLIT) * BLOCK);
                let rows = row_tile[row + k];
                let next_rows = row_tile[row + k + SPLIT];
                add_products(&sum, rows, w);
                add_products(&sum, next_rows, next_w);
            } else if (k < depth) {
                add_products(&sum, row_tile[row + k], weights_at(at + k * BLOCK));
            }
        }
        workgroupBarrier();
    }

    var product = Gates();
    for (var r = 0u; r < 4u; r++) {
        var of_row = sum.r0;
        if (r == 1u) {
            of_row = sum.r1;
        } else if (r == 2u) {
            of_row = sum.r2;
        } else if (r == 3u) {
            of_row = sum.r3;
        }
        partial[index] = of_row;
        workgroupBarrier();
        if (local.z == r) {
            for (var z = 0u; z < SPLIT; z++) {
                product += partial[(z * ROW_TILES + local.y) * UNITS + local.x];
            }
        }
        workgroupBarrier();
    }
    return product;
}
