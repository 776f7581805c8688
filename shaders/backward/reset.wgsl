// The second product of a backward step of a GRU whose reset gate acts before it:
//
//   d(r ⊙ h(s-1)) = W_hh[n]ᵀ·δn(s)
//   δr = d(r ⊙ h) ⊙ h(s-1) ⊙ r(1-r)    carry += d(r ⊙ h) ⊙ r
//
// The dispatch number i of a chunk is about step i - 1, like that of backward/step.wgsl, which it follows. The CPU twin
// is cpu/reference/cell/gru.rs.
//
// Needs: `params`, `chunk`, `enter` from base/params.wgsl; `length_of`, `h_index` from base/rows.wgsl; `step_in_chunk`
// from base/step.wgsl; `Gates`, `Saved` from cell/; `gates_index`, `gates_rows` from backward/gates.wgsl;
// `PackedWeights`, `unpack_weights` from weights/; `BLOCK`, `first_weight` from weights/blocks.wgsl; `COLUMNS`,
// `ROW_TILES`, `SPLIT`, `transposed_product` from product/transposed.wgsl; `h_before_row`, `value_at` from
// operand/h_before.wgsl; `sigmoid_slope` from base/slopes.wgsl.

@group(0) @binding(0) var<storage, read_write> gates: array<Saved>; // [steps, B, D, H]
@group(0) @binding(1) var<storage, read> w_hh: array<PackedWeights>; // [D, H / 8, H (k), 8]
@group(0) @binding(2) var<storage, read_write> carry: array<f32>;  // [L, D, B, H]
@group(0) @binding(3) var<storage, read> y: array<f32>;            // [T, B, D, H] or [B, T, D, H], by y_stride_*
@group(0) @binding(4) var<storage, read> h_0: array<f32>;          // [L, D, B, H]

// Returns the weights of a unit by their index in the binding.
fn weights_at(at: u32) -> Gates {
    return unpack_weights(w_hh[at]);
}

fn finish(d: u32, b: u32, u: u32, product: f32) {
    let s = chunk.first_step + step_in_chunk.index - 1u;
    if (b >= params.batch || u >= params.hidden_size || s >= length_of(b)) {
        return;
    }
    let at = gates_index(step_in_chunk.index - 1u, d, b, u);
    let r = gates[at].r;
    gates[at].r = product * value_at(h_before_row(s, d, b) + u) * sigmoid_slope(r);
    carry[h_index(d, b, u)] += product * r;
}

@compute @workgroup_size(8, COLUMNS, ROW_TILES * SPLIT)
fn backward_reset(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let d = enter(group.z);
    let b = (group.y * ROW_TILES + local.z % ROW_TILES) * 4u;
    let blocks = (params.hidden_size + BLOCK - 1u) / BLOCK;
    let first = first_weight(d, 0u, params.hidden_size);
    transposed_product(local, group, d, first, params.hidden_size, gates_rows(step_in_chunk.index - 1u, d, b), blocks);
}
