// One time step of one layer, all directions, of several rows: the recurrent product of all gates fused with the cell.
//
//   gh = W_hh[d]·h(s-1) + b_hh[d]        (h, c)(s) = cell(gx[s], gh, (h, c)(s-1))
//
// A workgroup owns UNITS hidden units of QUADS·4 batch rows, an invocation one unit of four rows (quad.wgsl). SPLIT invocations
// share the sum over k: invocation z takes k = z, z + SPLIT, … of every tile, and the SPLIT partial sums are added in the order
// of z, so the result is the same on every run. The CPU twin is cpu/reference/step.rs; step_row.wgsl is the kernel of a single
// row, step_wide.wgsl that of many.

override UNITS: u32;
override QUADS: u32;
override SPLIT: u32; // at least 4

var<workgroup> partial: array<Gates, SPLIT * QUADS * UNITS>;  // [SPLIT, QUADS, UNITS]

@compute @workgroup_size(UNITS, QUADS, SPLIT)
fn step(
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(workgroup_id) group: vec3<u32>,
) {
    let d = enter(group.z);
    let s = chunk.first_step + step_in_chunk.index;
    let u = group.x * UNITS + local.x;
    let tile_k = STAGED / QUADS;
    // The invocation with z = r of the first four finishes the unit of row r of the four.
    let b = (group.y * QUADS + local.y) * 4u + local.z;
    let finishes = local.z < 4u && is_there(b, u);
    var pending: Pending;
    if (finishes) {
        pending = begin(s, d, b, u);
    }

    var sum = Quad();
    for (var k0 = 0u; k0 < params.recurrent_size; k0 += tile_k) {
        let depth = min(tile_k, params.recurrent_size - k0);
        stage_h(s, d, group.y * QUADS * 4u, k0, tile_k, index, UNITS * QUADS * SPLIT);
        workgroupBarrier();
        if (u < params.hidden_size) {
            let first = first_recurrent_weight(d, u) + k0 * BLOCK;
            let h_row = local.y * tile_k;
            var k = local.z;
            // Two at a time, so that their loads are under way together.
            for (; k + SPLIT < depth; k += 2u * SPLIT) {
                let w = weights_at(first + k * BLOCK);
                let next_w = weights_at(first + (k + SPLIT) * BLOCK);
                let rows = h_tile[h_row + k];
                let next_rows = h_tile[h_row + k + SPLIT];
                add_quad(&sum, rows, w);
                add_quad(&sum, next_rows, next_w);
            }
            for (; k < depth; k += SPLIT) {
                add_quad(&sum, h_tile[h_row + k], weights_at(first + k * BLOCK));
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
                product += partial[(z * QUADS + local.y) * UNITS + local.x];
            }
        }
        workgroupBarrier();
    }
    if (finishes) {
        finish(s, d, b, u, pending, product);
    }
}
