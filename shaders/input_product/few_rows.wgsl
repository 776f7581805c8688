// The input product of a chunk with few rows, which are the chunk's (s, b) pairs; columns are the units with their
// gates side by side, and z is the direction. product/few_rows.wgsl describes how invocations share the sums: with few
// rows, several invocations share one sum to keep a GPU busy.
//
// Needs: `params`, `enter` from base/params.wgsl; `row_count` from base/chunk_rows.wgsl; `UNITS`, `ROW_TILES`, `SPLIT`,
// `staged_row`, `sum_products` from product/few_rows.wgsl; `start_of`, `leave`, `first_weight_of`, `x_rows` from
// input_product/bindings.wgsl.

@compute @workgroup_size(UNITS, ROW_TILES, SPLIT)
fn input_product_few_rows(
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(workgroup_id) group: vec3<u32>,
) {
    let d = enter(group.z);
    let u = group.x * UNITS + local.x;
    let there = min(u, params.hidden_size - 1u);
    let first_row = group.y * ROW_TILES * 4u;
    let row = first_row + local.y * 4u + local.z;
    let staged = x_rows(first_row + staged_row(index), d);
    // Units past the last one read its weights and discard their sums.
    let product = sum_products(local, index, staged, first_weight_of(d, there));
    if (local.z < 4u && row < row_count() && u < params.hidden_size) {
        leave(row, d, u, product + start_of(row, d, u));
    }
}
