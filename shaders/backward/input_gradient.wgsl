// The gradient with respect to what a layer reads, over the rows of a chunk of one direction:
//
//   dx[time_of(s, d, b), b] += W_ih[d]ᵀ·δ[s, b, d]
//
// of the layer below through its dropout: what was dropped is dropped, and what was scaled is scaled. It starts with
// zeros, and the directions are added one after the other. The CPU twin is cpu/reference/backward.rs.
//
// Needs: `params`, `chunk`, `enter` from base/params.wgsl; `row_count`, `is_step`, `gx_index` from
// base/chunk_rows.wgsl; `drop_out` from base/dropout.wgsl; `Gates`, `Saved` from cell/; `PackedWeights`,
// `unpack_weights` from weights/; `BLOCK`, `first_weight` from weights/blocks.wgsl; `DROPOUT`, `operand_start` from
// operand/x_of_rows.wgsl; `COLUMNS`, `ROW_TILES`, `SPLIT`, `transposed_product` from product/transposed.wgsl.

@group(0) @binding(0) var<storage, read> gates: array<Saved>;        // [steps, B, D, H], what has replaced them: δ
@group(0) @binding(1) var<storage, read> w_ih: array<PackedWeights>; // [D, H / 8, I (k), 8] of G
@group(0) @binding(2) var<storage, read_write> x: array<f32>;        // dx, like x: [T, B, I] or [B, T, I]

// Returns the weights of a unit by their index in the binding.
fn weights_at(at: u32) -> Gates {
    return unpack_weights(w_ih[at]);
}

// Returns the start of the gates of a row, clamped to the last row.
fn gates_row(row: u32, d: u32) -> u32 {
    return gx_index(min(row, row_count() - 1u), d, 0u);
}

fn finish(d: u32, row: u32, k: u32, sum: f32) {
    if (k >= chunk.input_size || !is_step(row)) {
        return;
    }
    let at = operand_start(row, d) + k;
    var gradient = sum;
    if (DROPOUT) {
        gradient = drop_out(sum, at - chunk.x_offset);
    }
    x[at] += gradient;
}

@compute @workgroup_size(8, COLUMNS, ROW_TILES * SPLIT)
fn input_gradient(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let d = enter(params.chunks[0].direction);
    let row = (group.y * ROW_TILES + local.z % ROW_TILES) * 4u;
    let rows = vec4<u32>(gates_row(row, d), gates_row(row + 1u, d), gates_row(row + 2u, d), gates_row(row + 3u, d));
    let blocks = (params.hidden_size + BLOCK - 1u) / BLOCK;
    let columns = params.chunks[0].input_size;
    transposed_product(local, group, d, first_weight(d, 0u, columns), columns, rows, blocks);
}
