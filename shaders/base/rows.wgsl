// The time of a row at a step, and the indices of its values.
//
// Needs: `params`, `chunk`, `call_words` from base/params.wgsl.

fn length_of(b: u32) -> u32 {
    return call_words[b];
}

// Returns the row of the state arrays that a batch row advances: the row itself, except for streams.
fn state_row(b: u32) -> u32 {
    return call_words[params.batch + b];
}

fn padding_value() -> f32 {
    return bitcast<f32>(call_words[2u * params.batch]);
}

fn time_of(step: u32, direction: u32, b: u32) -> u32 {
    let length = length_of(b);
    return select(step, length - 1u - step, direction + params.first_direction == 1u && step < length);
}

// Returns the index of h of a row and direction in a state array [L, D, state_rows, P].
fn h_index(d: u32, b: u32, k: u32) -> u32 {
    return chunk.h_offset + (d * params.state_rows + state_row(b)) * params.recurrent_size + k;
}

// Returns the index of h before step s. Two halves alternate, because a step may still read one half after another
// workgroup has stored its result in the other. The initial h is in the first half.
fn h_before(s: u32, d: u32, b: u32, k: u32) -> u32 {
    return (s & 1u) * params.h_size + h_index(d, b, k);
}

// Returns the index of c before step s in [L, D, state_rows, H] or, for all steps, [L, T + 1, D, state_rows, H].
fn c_index(s: u32, d: u32, b: u32, u: u32) -> u32 {
    return chunk.c_offset + s * params.c_stride_s + (d * params.state_rows + state_row(b)) * params.hidden_size + u;
}

// Returns the index of h of step s in the output.
fn y_index(s: u32, d: u32, b: u32, k: u32) -> u32 {
    return chunk.y_offset + time_of(s, d, b) * chunk.y_stride_t + b * chunk.y_stride_b + d * params.recurrent_size + k;
}
