// The input product of a chunk, hoisted out of the recurrence:
//
//   gx[s, b, d, u] = W_ih[d]·x[time_of(s, d, b), b] + b_ih[d]      for every step s of the chunk
//
// This file is shared by its kernels: buffers, reading x, and storing the sums. The CPU twin is
// cpu/reference/input_product.rs.
//
// Very long sums are cut into slices of k, one dispatch each, which continue from the previous slice's sums in gx: a
// driver may end loops after 65,535 iterations (llvmpipe does so silently).
//
// Needs: `params`, `chunk` from base/params.wgsl; `row_count`, `gx_index` from base/chunk_rows.wgsl; `operand_start`
// from operand/x_of_rows.wgsl; `Gates`, `PackedGates`, `pack_gates`, `unpack_gates` from cell/; `PackedWeights`,
// `unpack_weights` from weights/; `first_weight` from weights/blocks.wgsl; `FourRows` from product/four_rows.wgsl.

@group(0) @binding(0) var<storage, read> x: array<f32>;                  // [T, B, I] or [B, T, I], by x_stride_*
@group(0) @binding(1) var<storage, read> w_ih: array<PackedWeights>;     // [D, H / 8, I, 8] of G
@group(0) @binding(2) var<storage, read> b_ih: array<PackedGates>;       // [D, H] of G
@group(0) @binding(3) var<storage, read_write> gx: array<PackedGates>;   // [steps, B, D, H] of G

// Returns the index of the first element of a row of x, clamped to the last row: what is loaded past the end is not
// used.
fn x_row(row: u32, d: u32) -> u32 {
    return operand_start(min(row, row_count() - 1u), d);
}

// Returns the same for four rows.
fn x_rows(row: u32, d: u32) -> vec4<u32> {
    return vec4<u32>(x_row(row, d), x_row(row + 1u, d), x_row(row + 2u, d), x_row(row + 3u, d));
}

// Returns the first k of this slice.
fn first_k() -> u32 {
    return params.chunks[0].k_first;
}

fn end_k() -> u32 {
    return params.chunks[0].k_end;
}

// Returns the initial value of this slice's sum: the bias, or the sum of the slices before.
fn start_of(row: u32, d: u32, u: u32) -> Gates {
    if (first_k() > 0u) {
        return unpack_gates(gx[gx_index(row, d, u)]);
    }
    return unpack_gates(b_ih[d * params.hidden_size + u]);
}

fn leave(row: u32, d: u32, u: u32, sum: Gates) {
    gx[gx_index(row, d, u)] = pack_gates(sum);
}

fn leave_if_there(row: u32, rows: u32, d: u32, u: u32, sum: Gates) {
    if (row < rows) {
        leave(row, d, u, sum);
    }
}

// Stores four rows of `rows`.
fn leave_four(row: u32, rows: u32, d: u32, u: u32, sum: FourRows) {
    if (u < params.hidden_size) {
        leave_if_there(row, rows, d, u, sum.r0);
        leave_if_there(row + 1u, rows, d, u, sum.r1);
        leave_if_there(row + 2u, rows, d, u, sum.r2);
        leave_if_there(row + 3u, rows, d, u, sum.r3);
    }
}

// Returns the index at which the weights of a unit begin.
fn first_weight_of(d: u32, u: u32) -> u32 {
    return first_weight(d, u, chunk.input_size);
}

// Returns the weights of a unit by their index in the binding.
fn weights_at(at: u32) -> Gates {
    return unpack_weights(w_ih[at]);
}
