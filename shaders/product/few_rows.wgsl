// The product of a workgroup that owns UNITS hidden units of ROW_TILES·4 rows, an invocation one unit of four rows.
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

// The first of the four rows that this invocation stages, among those of the workgroup.
fn staged_row(index: u32) -> u32 {
    return index / (UNITS * SPLIT) * 4u;
}

// Gives the invocation with z = r of the first four the sum of row r of its four. `staged` is where the rows begin that
// it stages, `first` where the weights of its unit begin; there must be such a unit.
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
        // Two at a time, so that their loads are under way together.
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
