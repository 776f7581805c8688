// The places of weights.
//
// Needs: `params` from base/params.wgsl.

// Weights lie in blocks of eight units, [D, ceil(H / 8), K, 8] of G: the invocations of eight units read on in memory
// as k goes on. In the last block units may be missing; their weights are 0.
const BLOCK = 8u;

// Returns where the weights of a unit begin, of a matrix with K columns; those of the next k are BLOCK further.
fn first_weight(d: u32, u: u32, columns: u32) -> u32 {
    let blocks = (params.hidden_size + BLOCK - 1u) / BLOCK;
    return (d * blocks + u / BLOCK) * columns * BLOCK + u % BLOCK;
}
