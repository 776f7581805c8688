// Rows in workgroup memory, four to a vector, for kernels in which several invocations read the same rows.
//
// Needs: `value_at` from the bindings of the role.

const STAGED = 512u; // vectors that are staged at a time

var<workgroup> row_tile: array<vec4<f32>, STAGED>; // [row tiles of the workgroup, tile_k] of four rows

// Stages `depth` values of four rows, from k0 on, from `place` of row_tile on: the share of one of so many invocations.
// `rows` is where the rows begin.
fn stage_rows(rows: vec4<u32>, place: u32, k0: u32, depth: u32, share: u32, shares: u32) {
    for (var base = 0u; base < depth; base += shares) {
        let k = base + share;
        if (k < depth) {
            let at = rows + vec4<u32>(k0 + k);
            row_tile[place + k] = vec4<f32>(value_at(at.x), value_at(at.y), value_at(at.z), value_at(at.w));
        }
    }
}
