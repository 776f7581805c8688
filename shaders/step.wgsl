// One time step of one layer, all directions: the recurrent product of all gates fused with the cell.
//
//   gh = W_hh[d]·h(s-1) + b_hh[d]        (h, c)(s) = cell(gx[s], gh, (h, c)(s-1))
//
// A workgroup owns UNITS hidden units of ROWS batch rows; SPLIT invocations share the sum over k of one (unit, row):
// invocation z takes k = z, z + SPLIT, … of every tile and the SPLIT partial sums are added in the order of z, so the
// result is the same on every run. h(s-1) is read where the step before wrote it, in y, so nothing is copied between
// steps; the first step reads h_0. The CPU twin is cpu/step.rs.

override UNITS: u32;
override ROWS: u32;
override SPLIT: u32;
// Whether a projection follows, shrink.wgsl. Then h goes there as raw, and shrink writes y and h_n.
override PROJECTED: bool;
const TILE_K = 64u;

@group(0) @binding(0) var<storage, read> gx: array<PackedGates>;    // [steps, B, D, H] of G
@group(0) @binding(1) var<storage, read> w_hh: array<PackedGates>;  // [D, P (k), H (u)] of G
@group(0) @binding(2) var<storage, read> b_hh: array<PackedGates>;  // [D, H] of G
@group(0) @binding(3) var<storage, read> h_0: array<f32>;           // [L, D, state_rows, P]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;       // [T, B, D, P] or [B, T, D, P], by y_stride_*
@group(0) @binding(5) var<storage, read_write> h_out: array<f32>;   // h_n [L, D, state_rows, P]; if PROJECTED raw [B, D, H]

@group(1) @binding(2) var<uniform> step_in_chunk: Step;

var<workgroup> h_tile: array<f32, ROWS * TILE_K>;             // [ROWS, TILE_K]
var<workgroup> partial: array<Gates, SPLIT * ROWS * UNITS>;   // [SPLIT, ROWS, UNITS]

fn h_index(d: u32, b: u32, k: u32) -> u32 {
    return chunk.h_offset + (d * chunk.state_rows + state_row(b)) * chunk.recurrent_size + k;
}

// Of c before step s.
fn c_index(s: u32, d: u32, b: u32, u: u32) -> u32 {
    return chunk.c_offset + s * chunk.c_stride_s + (d * chunk.state_rows + state_row(b)) * chunk.hidden_size + u;
}

fn y_index(s: u32, d: u32, b: u32, k: u32) -> u32 {
    return time_of(s, d, b) * chunk.y_stride_t + b * chunk.y_stride_b + d * chunk.recurrent_size + k;
}

fn previous_h(s: u32, d: u32, b: u32, k: u32) -> f32 {
    if (s == 0u) {
        return h_0[h_index(d, b, k)];
    }
    return y[y_index(s - 1u, d, b, k)];
}

@compute @workgroup_size(UNITS, ROWS, SPLIT)
fn step(
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(workgroup_id) group: vec3<u32>,
) {
    let s = chunk.first_step + step_in_chunk.index;
    let d = group.z;
    let u = group.x * UNITS + local.x;
    let b = group.y * ROWS + local.y;

    var acc = Gates();
    for (var k0 = 0u; k0 < chunk.recurrent_size; k0 += TILE_K) {
        let depth = min(TILE_K, chunk.recurrent_size - k0);
        for (var i = index; i < ROWS * TILE_K; i += UNITS * ROWS * SPLIT) {
            let row = group.y * ROWS + i / TILE_K;
            let k = i % TILE_K;
            if (row < chunk.batch && k < depth) {
                h_tile[i] = previous_h(s, d, row, k0 + k);
            }
        }
        workgroupBarrier();
        if (u < chunk.hidden_size && b < chunk.batch) {
            let w_row = (d * chunk.recurrent_size + k0) * chunk.hidden_size + u;
            for (var k = local.z; k < depth; k += SPLIT) {
                acc += h_tile[local.y * TILE_K + k] * unpack_gates(w_hh[w_row + k * chunk.hidden_size]);
            }
        }
        workgroupBarrier();
    }

    partial[index] = acc;
    workgroupBarrier();
    if (local.z != 0u || u >= chunk.hidden_size || b >= chunk.batch) {
        return;
    }
    let length = length_of(b);
    if (s >= length) {
        // The row has ended: pad. One of no length at all passes its state through; c is where it was.
        if (!PROJECTED) {
            y[y_index(s, d, b, u)] = padding_value();
            if (length == 0u && s == 0u) {
                h_out[h_index(d, b, u)] = h_0[h_index(d, b, u)];
            }
        }
        return;
    }
    for (var z = 1u; z < SPLIT; z++) {
        acc += partial[index + z * ROWS * UNITS];
    }
    let gh = acc + unpack_gates(b_hh[d * chunk.hidden_size + u]);
    let gx_row = (step_in_chunk.index * chunk.batch + b) * chunk.directions + d;
    // A projected h has no element for each unit, and its cell, the LSTM, asks for none.
    var own_h = 0.0;
    if (!PROJECTED) {
        own_h = previous_h(s, d, b, u);
    }
    let at = c_index(s, d, b, u);
    let new_state = cell(unpack_gates(gx[gx_row * chunk.hidden_size + u]), gh, load_state(own_h, at));
    store_state(new_state, at + chunk.c_stride_s);
    if (PROJECTED) {
        h_out[(b * chunk.directions + d) * chunk.hidden_size + u] = new_state.h;
        return;
    }
    y[y_index(s, d, b, u)] = new_state.h;
    if (s + 1u == length) {
        h_out[h_index(d, b, u)] = new_state.h;
    }
}
