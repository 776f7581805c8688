// Shared by the kernels of the input product: buffers, how x is read, and where sums go.
//
// Very long sums are cut into slices of k, a dispatch each, which go on from the sums of the slice before in gx: a
// driver may end loops of more than 65,535 turns (llvmpipe does, and says nothing).
//
// Needs: `params`, `chunk` from base/params.wgsl; `time_of` from base/rows.wgsl; `drop_out` from base/dropout.wgsl;
// `Gates`, `PackedGates`, `unpack_gates` from cell/; `PackedWeights`, `unpack_weights` from weights/.

// x is the output of the layer below in training mode, base/dropout.wgsl.
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

// An element of x by its place in the binding.
fn value_at(at: u32) -> f32 {
    let value = x[at];
    if (DROPOUT) {
        // The element's place in what the layer below gave, wherever that lies.
        return drop_out(value, at - chunk.x_offset);
    }
    return value;
}

// Rows are the chunk's (s, b) pairs.
fn row_count() -> u32 {
    return chunk.steps * params.batch;
}

// Returns where a row of x begins, or the last one: what is loaded beyond it is not used.
fn x_row(row: u32, d: u32) -> u32 {
    return x_offset(min(row, row_count() - 1u), d);
}

// The same of four rows.
fn x_rows(row: u32, d: u32) -> vec4<u32> {
    return vec4<u32>(x_row(row, d), x_row(row + 1u, d), x_row(row + 2u, d), x_row(row + 3u, d));
}

// The k that this slice is over.
fn first_k() -> u32 {
    return params.chunks[0].k_first;
}

fn end_k() -> u32 {
    return params.chunks[0].k_end;
}

// Returns the start of the sum of this slice: the bias, or what the slices before have left.
fn start_of(at: u32, d: u32, u: u32) -> Gates {
    if (first_k() > 0u) {
        return unpack_gates(gx[at]);
    }
    return bias(d, u);
}

// The weights of a unit by their place in the binding.
fn weights_at(at: u32) -> Gates {
    return unpack_weights(w_ih[at]);
}

fn bias(d: u32, u: u32) -> Gates {
    return unpack_gates(b_ih[d * params.hidden_size + u]);
}

fn gx_index(row: u32, d: u32, u: u32) -> u32 {
    return chunk.gx_offset + (row * params.directions + d) * params.hidden_size + u;
}
