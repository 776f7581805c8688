// h in workgroup memory, for kernels in which several invocations read the same rows.

const STAGED = 512u; // vectors that are staged at a time

var<workgroup> h_tile: array<vec4<f32>, STAGED>; // [quads of the workgroup, tile_k] of four rows

fn h_or_zero(s: u32, d: u32, b: u32, k: u32) -> f32 {
    if (b < params.batch) {
        return h[h_before(s, d, b, k)];
    }
    return 0.0;
}

// Stages h(s-1) of the rows from first_row on, for k from k0 on, as many as there are and the tile has room for. `index` is the
// invocation's, of so many.
fn stage_h(s: u32, d: u32, first_row: u32, k0: u32, tile_k: u32, index: u32, invocations: u32) {
    for (var i = index; i < STAGED; i += invocations) {
        let k = k0 + i % tile_k;
        let row = first_row + i / tile_k * 4u;
        if (k < params.recurrent_size) {
            h_tile[i] = vec4<f32>(
                h_or_zero(s, d, row, k),
                h_or_zero(s, d, row + 1u, k),
                h_or_zero(s, d, row + 2u, k),
                h_or_zero(s, d, row + 3u, k),
            );
        }
    }
}
