// The gradients with respect to h of every step of a chunk, before its projection takes them on: [steps, B, D, P].
//
// Needs: `params` from base/params.wgsl.

// Returns the index of a value of a row of the chunk.
fn dh_index(row: u32, d: u32, p: u32) -> u32 {
    return (row * params.directions + d) * params.recurrent_size + p;
}
