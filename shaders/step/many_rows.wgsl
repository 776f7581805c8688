// One time step of one layer, all directions, of many rows: the recurrent product of all gates fused with the cell.
//
//   gh = W_hh[d]·h(s-1) + b_hh[d]        (h, c)(s) = cell(gx[s], gh, (h, c)(s-1))
//
// A workgroup owns 2·UNITS hidden units of ROW_TILES·8 batch rows. An invocation owns two units of eight rows, four
// register tiles: two vectors of weights and two of h feed sixteen vectors of sums. Four invocations share the sum over
// k: invocation z takes k = z, z + 4, … of every tile, and the four partial sums are added in the order of z, so the
// result is the same on every run. The CPU twin is cpu/reference/step.rs.
//
// Needs: `params`, `enter` from base/params.wgsl; `current_step` from base/step.wgsl; `Gates` from cell/; `BLOCK` from
// weights/blocks.wgsl; `FourRows`, `add_products` from product/four_rows.wgsl; `STAGED`, `row_tile`, `stage_rows` from
// product/staged_rows.wgsl; `Pending`, `first_recurrent_weight`, `weights_at` from step/recurrence.wgsl; `is_there`,
// `operand_rows`, `begin`, `finish` from step/unit.wgsl.

override UNITS: u32;
override ROW_TILES: u32;
const SPLIT = 4u;

var<workgroup> partial: array<Gates, 4u * SPLIT * ROW_TILES * UNITS>; // [4 (row of a tile), SPLIT, ROW_TILES, UNITS]

@compute @workgroup_size(UNITS, ROW_TILES, SPLIT)
fn step_many_rows(
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(workgroup_id) group: vec3<u32>,
) {
    let d = enter(group.z);
    let s = current_step();
    // Neighbours own neighbouring units, so that they read one stretch of weights.
    let u_a = group.x * 2u * UNITS + local.x;
    let u_b = u_a + UNITS;
    let tile_k = STAGED / (2u * ROW_TILES);
    let first_row = group.y * ROW_TILES * 8u;
    // As many invocations stage each four of the rows.
    let shares = SPLIT * UNITS / 2u;
    let staged = operand_rows(s, d, first_row + index / shares * 4u);

    var a_0 = FourRows(); // unit a, the first four rows
    var a_1 = FourRows();
    var b_0 = FourRows();
    var b_1 = FourRows();
    for (var k0 = 0u; k0 < params.recurrent_size; k0 += tile_k) {
        let depth = min(tile_k, params.recurrent_size - k0);
        stage_rows(staged, index / shares * tile_k, k0, depth, index % shares, shares);
        workgroupBarrier();
        // Units behind the last load a weight that is there, and drop their sums.
        let w_a = first_recurrent_weight(d, min(u_a, params.hidden_size - 1u)) + k0 * BLOCK;
        let w_b = first_recurrent_weight(d, min(u_b, params.hidden_size - 1u)) + k0 * BLOCK;
        let rows_0 = 2u * local.y * tile_k;
        let rows_1 = rows_0 + tile_k;
        for (var base = 0u; base < depth; base += SPLIT) {
            let k = base + local.z;
            if (k < depth) {
                let of_a = weights_at(w_a + k * BLOCK);
                let of_b = weights_at(w_b + k * BLOCK);
                let h_0 = row_tile[rows_0 + k];
                let h_1 = row_tile[rows_1 + k];
                add_products(&a_0, h_0, of_a);
                add_products(&a_1, h_1, of_a);
                add_products(&b_0, h_0, of_b);
                add_products(&b_1, h_1, of_b);
            }
        }
        workgroupBarrier();
    }

    let row = first_row + local.y * 8u + local.z;
    let at = local.y * UNITS + local.x;
    // All under way together.
    let of_a_0 = begin_if_there(s, d, row, u_a);
    let of_a_1 = begin_if_there(s, d, row + 4u, u_a);
    let of_b_0 = begin_if_there(s, d, row, u_b);
    let of_b_1 = begin_if_there(s, d, row + 4u, u_b);
    finish_four(s, d, row, u_a, at, local.z, of_a_0, a_0);
    finish_four(s, d, row + 4u, u_a, at, local.z, of_a_1, a_1);
    finish_four(s, d, row, u_b, at, local.z, of_b_0, b_0);
    finish_four(s, d, row + 4u, u_b, at, local.z, of_b_1, b_1);
}

fn begin_if_there(s: u32, d: u32, b: u32, u: u32) -> Pending {
    var pending: Pending;
    if (is_there(b, u)) {
        pending = begin(s, d, b, u);
    }
    return pending;
}

// The invocation with z = r finishes row r of the four, which is b.
fn finish_four(s: u32, d: u32, b: u32, u: u32, at: u32, z: u32, pending: Pending, sum: FourRows) {
    let of_split = ROW_TILES * UNITS;
    let of_row = SPLIT * of_split;
    partial[z * of_split + at] = sum.r0;
    partial[of_row + z * of_split + at] = sum.r1;
    partial[2u * of_row + z * of_split + at] = sum.r2;
    partial[3u * of_row + z * of_split + at] = sum.r3;
    workgroupBarrier();
    if (is_there(b, u)) {
        let first = z * of_row + at;
        let product = partial[first] + partial[first + of_split] + partial[first + 2u * of_split]
            + partial[first + 3u * of_split];
        finish(s, d, b, u, pending, product);
    }
    workgroupBarrier();
}
