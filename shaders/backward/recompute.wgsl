// The gates of all steps of a chunk once more, from h of all steps, which the forward has kept:
//
//   gates[s, b, d, u] = activations of (gx[s, b, d, u] + W_hh[d]·h(s-1) + b_hh[d])
//
// Unlike in the forward, no step waits for another one. The CPU keeps the gates instead.
//
// Needs: `params` from base/params.wgsl; `gx_index` from base/chunk_rows.wgsl; `Gates`, `PackedGates`, `unpack_gates`,
// `PackedInputGates`, `unpack_input_gates`, `Saved`, `before_product`, `activate` from cell/; `PackedWeights`,
// `unpack_weights` from weights/; `first_weight` from weights/blocks.wgsl; `FourRows` from product/four_rows.wgsl.

@group(0) @binding(0) var<storage, read> gx: array<PackedInputGates>; // [steps, B, D, H] of G
@group(0) @binding(1) var<storage, read> w_hh: array<PackedWeights>; // [D, H / 8, P (k), 8] of G
@group(0) @binding(2) var<storage, read> b_hh: array<PackedGates>;   // [D, H] of G
@group(0) @binding(3) var<storage, read> y: array<f32>;      // [T, B, D, P] or [B, T, D, P], by y_stride_*
@group(0) @binding(4) var<storage, read> h_0: array<f32>;    // [L, D, B, P]
@group(0) @binding(5) var<storage, read_write> gates: array<Saved>; // [steps, B, D, H]

fn first_k() -> u32 {
    return 0u;
}

fn end_k() -> u32 {
    return params.recurrent_size;
}

// Returns the weights of a unit by their index in the binding.
fn weights_at(at: u32) -> Gates {
    return unpack_weights(w_hh[at]);
}

// Returns the index at which the weights of a unit begin.
fn first_weight_of(d: u32, u: u32) -> u32 {
    return first_weight(d, u, params.recurrent_size);
}

// Returns the initial value of a sum: what the product is added to.
fn start_of(row: u32, d: u32, u: u32) -> Gates {
    let bias = unpack_gates(b_hh[d * params.hidden_size + u]);
    return before_product(unpack_input_gates(gx[gx_index(row, d, u)]), bias);
}

// Activates the sums of four rows of `rows`, in a loop that compilers do not unroll: computed for all rows at once, the
// activations take more registers than there are.
fn leave_four(first: u32, rows: u32, d: u32, u: u32, sum: FourRows) {
    if (u >= params.hidden_size) {
        return;
    }
    for (var row = first; row < min(first + 4u, rows); row++) {
        var of_row = sum.r0;
        if (row == first + 1u) {
            of_row = sum.r1;
        } else if (row == first + 2u) {
            of_row = sum.r2;
        } else if (row == first + 3u) {
            of_row = sum.r3;
        }
        activate(gx_index(row, d, u), of_row, row, d, u);
    }
}
