// Shared by the kernels of the input product: buffers, reading x, and storing the sums.
//
// Very long sums are cut into slices of k, one dispatch each, which continue from the previous slice's sums in gx: a
// driver may end loops after 65,535 iterations (llvmpipe does so silently).
//
// Needs: `params`, `chunk` from base/params.wgsl; `time_of` from base/rows.wgsl; `drop_out` from base/dropout.wgsl;
// `Gates`, `PackedGates`, `unpack_gates` from cell/; `PackedWeights`, `unpack_weights` from weights/.

// True if x is the output of the layer below in training mode, see base/dropout.wgsl.
override DROPOUT: bool;

@group(0) @binding(0) var<storage, read> x: array<f32>;                  // [T, B, I] or [B, T, I], by x_stride_*
@group(0) @binding(1) var<storage, read> w_ih: array<PackedWeights>;     // [D, H / 8, I, 8] of G
@group(0) @binding(2) var<storage, read> b_ih: array<PackedGates>;       // [D, H] of G
@group(0) @binding(3) var<storage, read_write> gx: array<PackedGates>;   // [steps, B, D, H] of G

fn x_offset(row: u32, direction: u32) -> u32 {
    let b = row % params.batch;
    let t = time_of(chunk.first_step + row / params.batch, direction, b);
    return chunk.x_offset + t * chunk.x_stride_t + b * chunk.x_stride_b;
}

// Returns an element of x by its index in the binding.
fn value_at(at: u32) -> f32 {
    let value = x[at];
    if (DROPOUT) {
        // The element's index in the output of the layer below, wherever that starts.
        return drop_out(value, at - chunk.x_offset);
    }
    return value;
}

// Rows are the chunk's (s, b) pairs.
fn row_count() -> u32 {
    return chunk.steps * params.batch;
}

// Returns the index of the first element of a row of x, clamped to the last row: what is loaded past the end is not
// used.
fn x_row(row: u32, d: u32) -> u32 {
    return x_offset(min(row, row_count() - 1u), d);
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
fn start_of(at: u32, d: u32, u: u32) -> Gates {
    if (first_k() > 0u) {
        return unpack_gates(gx[at]);
    }
    return bias(d, u);
}

// Returns the weights of a unit by their index in the binding.
fn weights_at(at: u32) -> Gates {
    return unpack_weights(w_ih[at]);
}

fn bias(d: u32, u: u32) -> Gates {
    return unpack_gates(b_ih[d * params.hidden_size + u]);
}

fn gx_index(row: u32, d: u32, u: u32) -> u32 {
    return chunk.gx_offset + (row * params.directions + d) * params.hidden_size + u;
}
