// One time step of one layer, all directions, of several rows: the recurrent product of all gates fused with the cell.
//
//   gh = W_hh[d]·h(s-1) + b_hh[d]        (h, c)(s) = cell(gx[s], gh, (h, c)(s-1))
//
// A workgroup owns UNITS hidden units of QUADS·4 batch rows. An invocation owns one unit of four rows, so that each weight
// it loads is used four times, and h of the four rows comes as one vector. SPLIT invocations share the sum over k:
// invocation z takes k = z, z + SPLIT, … of every tile, and the SPLIT partial sums are added in the order of z, so the result
// is the same on every run. The CPU twin is cpu/reference/step.rs; step_row.wgsl is the kernel of a single row.

override UNITS: u32;
override QUADS: u32;
override SPLIT: u32; // at least 4
const STAGED = 512u; // vectors of h that are staged at a time

var<workgroup> h_tile: array<vec4<f32>, STAGED>;              // [QUADS, STAGED / QUADS (k)] of four rows
var<workgroup> partial: array<Gates, SPLIT * QUADS * UNITS>;  // [SPLIT, QUADS, UNITS]

fn h_or_zero(s: u32, d: u32, b: u32, k: u32) -> f32 {
    if (b < chunk.batch) {
        return previous_h(s, previous_row(s, d, b) + k);
    }
    return 0.0;
}

@compute @workgroup_size(UNITS, QUADS, SPLIT)
fn step(
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(workgroup_id) group: vec3<u32>,
) {
    let s = chunk.first_step + step_in_chunk.index;
    let d = group.z;
    let u = group.x * UNITS + local.x;
    let tile_k = STAGED / QUADS;
    // The invocation with z = r of the first four finishes the unit of row r of the four.
    let b = (group.y * QUADS + local.y) * 4u + local.z;
    let finishes = local.z < 4u && u < chunk.hidden_size && b < chunk.batch;
    var pending: Pending;
    if (finishes) {
        pending = begin(s, d, b, u);
    }

    var acc0 = Gates();
    var acc1 = Gates();
    var acc2 = Gates();
    var acc3 = Gates();
    for (var k0 = 0u; k0 < chunk.recurrent_size; k0 += tile_k) {
        let depth = min(tile_k, chunk.recurrent_size - k0);
        for (var i = index; i < STAGED; i += UNITS * QUADS * SPLIT) {
            let k = i % tile_k;
            let row = (group.y * QUADS + i / tile_k) * 4u;
            if (k < depth) {
                h_tile[i] = vec4<f32>(
                    h_or_zero(s, d, row, k0 + k),
                    h_or_zero(s, d, row + 1u, k0 + k),
                    h_or_zero(s, d, row + 2u, k0 + k),
                    h_or_zero(s, d, row + 3u, k0 + k),
                );
            }
        }
        workgroupBarrier();
        if (u < chunk.hidden_size) {
            let w_row = (d * chunk.recurrent_size + k0) * chunk.hidden_size + u;
            let h_row = local.y * tile_k;
            var k = local.z;
            // Two at a time, so that their loads are under way together.
            for (; k + SPLIT < depth; k += 2u * SPLIT) {
                let w = unpack_weights(w_hh[w_row + k * chunk.hidden_size]);
                let next_w = unpack_weights(w_hh[w_row + (k + SPLIT) * chunk.hidden_size]);
                let h = h_tile[h_row + k];
                let next_h = h_tile[h_row + k + SPLIT];
                acc0 += h.x * w;
                acc1 += h.y * w;
                acc2 += h.z * w;
                acc3 += h.w * w;
                acc0 += next_h.x * next_w;
                acc1 += next_h.y * next_w;
                acc2 += next_h.z * next_w;
                acc3 += next_h.w * next_w;
            }
            for (; k < depth; k += SPLIT) {
                let h = h_tile[h_row + k];
                let w = unpack_weights(w_hh[w_row + k * chunk.hidden_size]);
                acc0 += h.x * w;
                acc1 += h.y * w;
                acc2 += h.z * w;
                acc3 += h.w * w;
            }
        }
        workgroupBarrier();
    }

    var product = Gates();
    for (var r = 0u; r < 4u; r++) {
        var acc = acc0;
        if (r == 1u) {
            acc = acc1;
        } else if (r == 2u) {
            acc = acc2;
        } else if (r == 3u) {
            acc = acc3;
        }
        partial[index] = acc;
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
