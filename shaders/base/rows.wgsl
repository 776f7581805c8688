// The time that a row is at, and the places of its values.
//
// Needs: `params`, `chunk`, `call_words` from base/params.wgsl.

fn length_of(b: u32) -> u32 {
    return call_words[b];
}

// The row of the state arrays that a batch row moves on: itself, but for streams.
fn state_row(b: u32) -> u32 {
    return call_words[params.batch + b];
}

fn padding_value() -> f32 {
    return bitcast<f32>(call_words[2u * params.batch]);
}

fn time_of(step: u32, direction: u32, b: u32) -> u32 {
    let length = length_of(b);
    return select(step, length - 1u - step, direction == 1u && step < length);
}

// Returns where h of a row and direction lies in a state array [L, D, state_rows, P].
fn h_index(d: u32, b: u32, k: u32) -> u32 {
    return chunk.h_offset + (d * params.state_rows + state_row(b)) * params.recurrent_size + k;
}

// Of h before step s: two halves take turns, as a step may still read the one when another workgroup has left its
// result in the other. The initial h is in the first.
fn h_before(s: u32, d: u32, b: u32, k: u32) -> u32 {
    return (s & 1u) * params.h_size + h_index(d, b, k);
}

// Returns where h of step s goes in the output.
fn y_index(s: u32, d: u32, b: u32, k: u32) -> u32 {
    return chunk.y_offset + time_of(s, d, b) * chunk.y_stride_t + b * chunk.y_stride_b + d * params.recurrent_size + k;
}
