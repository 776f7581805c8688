// The layout of the gradients of weights whose product yields gates: that of the weights, then that of the bias.
//
// Needs: `params` from base/params.wgsl; `gx_index` from base/chunk_rows.wgsl; `BLOCK`, `first_weight` from
// weights/blocks.wgsl; `columns` from the bindings of the role.

fn units() -> u32 {
    return params.hidden_size;
}

// Returns the index of δ of a unit.
fn delta_index(row: u32, d: u32, u: u32) -> u32 {
    return gx_index(row, d, u);
}

// Returns the index of the gradient of a weight, which is that of the weight.
fn weight_index(d: u32, u: u32, k: u32) -> u32 {
    return first_weight(d, u, columns()) + k * BLOCK;
}

// Returns the index of the gradient of a bias. They follow those of the weights.
fn bias_index(d: u32, u: u32) -> u32 {
    return first_weight(params.directions, 0u, columns()) + d * params.hidden_size + u;
}
