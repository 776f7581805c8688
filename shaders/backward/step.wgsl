// One time step of the backward of one layer, all directions: the gradient arrives at h of a step from the output and
// from the step after,
//
//   dh(s) = dy(s) + (carry + W_hh[d]ᵀ·δ(s+1))
//
// and the cell turns it into δ(s), the gradient with respect to the pre-activations, and the carry of the step before.
// The dispatch number i of a chunk of n steps takes δ of step i of the chunk to step i - 1. The first, i = n, has no δ
// yet: that of the next chunk has already been carried. The last, i = 0, leaves the carry for the chunk before or, at
// the start of a sequence, the gradient with respect to h_0. The carry starts with the gradient with respect to h_n.
// The CPU twin is cpu/reference/backward.rs.
//
// Needs: `params`, `chunk`, `enter` from base/params.wgsl; `length_of`, `y_index`, `h_index` from base/rows.wgsl;
// `step_in_chunk` from base/step.wgsl; `Gates`, `Saved` from cell/; `gates_rows` from backward/gates.wgsl;
// `PackedWeights`, `unpack_weights` from weights/; `BLOCK`, `first_weight` from weights/blocks.wgsl; `COLUMNS`,
// `ROW_TILES`, `SPLIT`, `transposed_product` from product/transposed.wgsl; `arrive` from cell/ or
// backward/hand_on.wgsl.

@group(0) @binding(0) var<storage, read_write> gates: array<Saved>; // [steps, B, D, H]
@group(0) @binding(1) var<storage, read> w_hh: array<PackedWeights>; // [D, H / 8, P (k), 8] of G
@group(0) @binding(2) var<storage, read> dy: array<f32>;           // like y: [T, B, D, P] or [B, T, D, P]
@group(0) @binding(3) var<storage, read_write> carry: array<f32>;  // [L, D, B, P]

// Returns the weights of a unit by their index in the binding.
fn weights_at(at: u32) -> Gates {
    return unpack_weights(w_hh[at]);
}

fn finish(d: u32, b: u32, k: u32, product: f32) {
    if (b >= params.batch || k >= params.recurrent_size) {
        return;
    }
    let after = chunk.first_step + step_in_chunk.index;
    let length = length_of(b);
    let at = h_index(d, b, k);
    var dh = carry[at];
    if (step_in_chunk.index < chunk.steps && after < length) {
        dh += product;
    }
    if (step_in_chunk.index == 0u) {
        carry[at] = dh;
    } else if (after <= length) {
        let s = after - 1u;
        arrive(s, step_in_chunk.index - 1u, d, b, k, dy[y_index(s, d, b, k)] + dh);
    }
}

@compute @workgroup_size(8, COLUMNS, ROW_TILES * SPLIT)
fn backward_step(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let d = enter(group.z);
    let b = (group.y * ROW_TILES + local.z % ROW_TILES) * 4u;
    let steps = params.chunks[0].steps;
    let index = min(step_in_chunk.index, steps - 1u);
    // No blocks of units where there is no δ.
    let blocks = select(0u, (params.hidden_size + BLOCK - 1u) / BLOCK, step_in_chunk.index < steps);
    let first = first_weight(d, 0u, params.recurrent_size);
    transposed_product(local, group, d, first, params.recurrent_size, gates_rows(index, d, b), blocks);
}
