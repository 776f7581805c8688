// The input product of a whole chunk, hoisted out of the recurrence:
//
//   gx[s, b, d, u] = W_ih[d]·x[time_of(s, d, b), b] + b_ih[d]      for every step s of the chunk
//
// A tiled GEMM. Rows are the chunk's (s, b) pairs, columns the units with their gates side by side; z is the direction.
// Each invocation owns four rows of one unit. Every element sums over k in the same order whatever its place in a tile,
// so the result does not depend on how time is cut into chunks. Very long sums are cut into slices of k, a dispatch each,
// which go on from the sums of the slice before in gx: a driver may end loops of more than 65,535 turns (llvmpipe does, and
// says nothing). The CPU twin is cpu/reference/project.rs.

// Whether x is the output of the layer below in training mode, dropout.wgsl.
override DROPOUT: bool;
const TILE_UNITS = 16u;
const TILE_ROWS = 64u;
const TILE_K = 16u;

@group(0) @binding(0) var<storage, read> x: array<f32>;                  // [T, B, I] or [B, T, I], by x_stride_*
@group(0) @binding(1) var<storage, read> w_ih: array<PackedWeights>;     // [D, I, H] of G
@group(0) @binding(2) var<storage, read> b_ih: array<PackedGates>;       // [D, H] of G
@group(0) @binding(3) var<storage, read_write> gx: array<PackedGates>;   // [steps, B, D, H] of G

var<workgroup> x_tile: array<vec4<f32>, 256>; // [TILE_K, TILE_ROWS / 4] of four rows
var<workgroup> w_tile: array<Gates, 256>;     // [TILE_K, TILE_UNITS]

fn x_offset(row: u32, direction: u32) -> u32 {
    let b = row % chunk.batch;
    let t = time_of(chunk.first_step + row / chunk.batch, direction, b);
    return t * chunk.x_stride_t + b * chunk.x_stride_b;
}

fn x_or_zero(offset: u32, k: u32, row: u32, rows: u32) -> f32 {
    if (row < rows && k < chunk.k_end) {
        let value = x[offset + k];
        if (DROPOUT) {
            return drop_out(value, offset + k);
        }
        return value;
    }
    return 0.0;
}

// The bias, or what the slice before has summed.
fn load_gx(row: u32, rows: u32, d: u32, u: u32) -> Gates {
    if (u >= chunk.hidden_size) {
        return Gates();
    }
    if (chunk.k_first == 0u) {
        return unpack_gates(b_ih[d * chunk.hidden_size + u]);
    }
    if (row >= rows) {
        return Gates();
    }
    return unpack_gates(gx[(row * chunk.directions + d) * chunk.hidden_size + u]);
}

fn store_gx(row: u32, rows: u32, d: u32, u: u32, gates: Gates) {
    if (row < rows) {
        gx[(row * chunk.directions + d) * chunk.hidden_size + u] = pack_gates(gates);
    }
}

@compute @workgroup_size(16, 16, 1)
fn project(
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(workgroup_id) group: vec3<u32>,
) {
    let d = group.z;
    let u = group.x * TILE_UNITS + local.x;
    let rows = chunk.steps * chunk.batch;

    // Staging of x: 16 neighbouring invocations read 16 neighbouring features of the same four rows.
    let stage_k = index % TILE_K;
    let stage_quad = index / TILE_K;
    let r0 = group.y * TILE_ROWS + stage_quad * 4u;
    let x0 = x_offset(r0, d);
    let x1 = x_offset(r0 + 1u, d);
    let x2 = x_offset(r0 + 2u, d);
    let x3 = x_offset(r0 + 3u, d);

    let row = group.y * TILE_ROWS + local.y * 4u;
    var acc0 = load_gx(row, rows, d, u);
    var acc1 = load_gx(row + 1u, rows, d, u);
    var acc2 = load_gx(row + 2u, rows, d, u);
    var acc3 = load_gx(row + 3u, rows, d, u);
    for (var k0 = chunk.k_first; k0 < chunk.k_end; k0 += TILE_K) {
        let k = k0 + stage_k;
        x_tile[stage_k * (TILE_ROWS / 4u) + stage_quad] = vec4<f32>(
            x_or_zero(x0, k, r0, rows),
            x_or_zero(x1, k, r0 + 1u, rows),
            x_or_zero(x2, k, r0 + 2u, rows),
            x_or_zero(x3, k, r0 + 3u, rows),
        );
        // Here the invocation's row of the tile is its k, so that neighbours read neighbouring units.
        var w = Gates();
        if (k0 + local.y < chunk.k_end && u < chunk.hidden_size) {
            w = unpack_weights(w_ih[(d * chunk.input_size + k0 + local.y) * chunk.hidden_size + u]);
        }
        w_tile[local.y * TILE_UNITS + local.x] = w;
        workgroupBarrier();

        for (var j = 0u; j < TILE_K; j++) {
            let xs = x_tile[j * (TILE_ROWS / 4u) + local.y];
            let ws = w_tile[j * TILE_UNITS + local.x];
            acc0 += xs.x * ws;
            acc1 += xs.y * ws;
            acc2 += xs.z * ws;
            acc3 += xs.w * ws;
        }
        workgroupBarrier();
    }

    if (u < chunk.hidden_size) {
        store_gx(row, rows, d, u, acc0);
        store_gx(row + 1u, rows, d, u, acc1);
        store_gx(row + 2u, rows, d, u, acc2);
        store_gx(row + 3u, rows, d, u, acc3);
    }
}
