// The layout of weights.
//
// Needs: `params` from base/params.wgsl.

// Weights lie in blocks of eight units, [D, ceil(H / 8), K, 8] of G: the invocations of eight units read contiguous
// memory as k advances. The last block may lack units; their weights are 0.
const BLOCK = 8u;

// Returns the index at which the weights of a unit begin in a matrix with K columns; the weights of the next k are
// BLOCK further.
fn first_weight(d: u32, u: u32, columns: u32) -> u32 {
    let blocks = (params.hidden_size + BLOCK - 1u) / BLOCK;
    return (d * blocks + u / BLOCK) * columns * BLOCK + u % BLOCK;
}
