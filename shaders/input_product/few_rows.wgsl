// The input product of a chunk of few rows:
//
//   gx[s, b, d, u] = W_ih[d]·x[time_of(s, d, b), b] + b_ih[d]      for every step s of the chunk
//
// Rows are the chunk's (s, b) pairs, columns the units with their gates side by side; z is the direction.
// product/few_rows.wgsl says who sums what: where there are few rows, a sum is shared to keep a GPU busy. The CPU twin
// is cpu/reference/input_product.rs.
//
// Needs: `params`, `chunk`, `enter` from base/params.wgsl; `pack_gates` from cell/; `first_weight` from
// weights/blocks.wgsl; `UNITS`, `ROW_TILES`, `SPLIT`, `staged_row`, `sum_products` from product/few_rows.wgsl; `gx`,
// `gx_index`, `start_of`, `row_count`, `x_rows` from input_product/bindings.wgsl.

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
    // Units behind the last read its weights, and drop their sums.
    let product = sum_products(local, index, staged, first_weight(d, there, chunk.input_size));
    if (local.z < 4u && row < row_count() && u < params.hidden_size) {
        let at = gx_index(row, d, u);
        gx[at] = pack_gates(product + start_of(at, d, u));
    }
}
