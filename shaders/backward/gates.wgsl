// The gates of a step, or what has replaced them.
//
// Needs: `params` from base/params.wgsl.

// Returns the index of a unit's values at a step, by the step's index in the chunk.
fn gates_index(index: u32, d: u32, b: u32, u: u32) -> u32 {
    return ((index * params.batch + b) * params.directions + d) * params.hidden_size + u;
}

// Returns the starts of four rows of a step. Rows past the last one are clamped to it.
fn gates_rows(index: u32, d: u32, b: u32) -> vec4<u32> {
    let last = params.batch - 1u;
    return vec4<u32>(
        gates_index(index, d, min(b, last), 0u),
        gates_index(index, d, min(b + 1u, last), 0u),
        gates_index(index, d, min(b + 2u, last), 0u),
        gates_index(index, d, min(b + 3u, last), 0u),
    );
}
