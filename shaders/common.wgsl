// Shared by every kernel: the legend, the parameter blocks and activations that are safe for any float.
//
// T time steps · B batch · I input features of this layer · H hidden size · P size of h (H without a projection)
// L layers · D directions · G gates
// d direction (0 forward, 1 reverse) · u hidden unit · b batch row · t time · s step
//
// A direction walks a row in its own order: step s is time s forward, and in reverse time length-1-s, so that it starts at the
// row's own last element. Steps beyond the row's length do nothing but pad: there step s is time s for both.
// Arrays are named with their shape, slowest dimension first.

/// One layer over one chunk of time steps, and for the input product one slice of its features. The host side is `plan/params.rs`.
struct Chunk {
    input_size: u32,   // I of this layer
    first_step: u32,   // the step that the chunk starts at
    steps: u32,        // how many steps the chunk has
    x_offset: u32,     // first element of this layer's x
    x_stride_t: u32,   // elements from one time of x to the next
    x_stride_b: u32,   // elements from one batch row of x to the next
    y_offset: u32,     // likewise for y
    y_stride_t: u32,
    y_stride_b: u32,
    h_offset: u32,     // first element of this layer in a state [L, D, state_rows, P]
    c_offset: u32,     // likewise in c
    gx_offset: u32,    // likewise in gx, w_hh and b_hh, in units of their gates
    w_offset: u32,
    b_offset: u32,
    k_first: u32,      // the features of this slice of the input product: k_first..k_end
    k_end: u32,
    dropout_key: u32,  // where in call_words the key of what this layer reads is
    dropout_threshold: u32,
    dropout_scale: f32,
    unused: u32,
}

/// What all layers and chunks of a call share, and the chunks of a dispatch.
struct Params {
    batch: u32,        // B
    hidden_size: u32,  // H
    recurrent_size: u32, // P
    directions: u32,   // D
    state_rows: u32,   // rows of the state arrays: B, or as many streams as there is room for
    h_size: u32,       // elements of h of all layers [L, D, state_rows, P]
    c_stride_s: u32,   // elements from c before a step to c after it: 0 where it is updated in place
    unused: u32,
    chunks: array<Chunk, CHUNKS>,
}

/// Where in its chunk a step dispatch stands.
struct Step {
    index: u32,
}

@group(1) @binding(0) var<uniform> params: Params;
// [B] lengths, [B] state rows, the bits of the padding value, then a dropout key of two words for each layer but the last.
@group(1) @binding(1) var<storage, read> call_words: array<u32>;

// The chunk that a workgroup is at. What loops with barriers depend on is read from params, which are known to be uniform.
var<private> chunk: Chunk;

// Chooses the chunk by z of the grid: a direction of the one chunk, or in a wave the chunk of one of the layers, each with a
// direction. Gives the direction.
fn enter(z: u32) -> u32 {
    chunk = params.chunks[z / params.directions];
    return z % params.directions;
}

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

// Where h of a row and direction lies in a state array [L, D, state_rows, P].
fn h_index(d: u32, b: u32, k: u32) -> u32 {
    return chunk.h_offset + (d * params.state_rows + state_row(b)) * params.recurrent_size + k;
}

// Of h before step s: two halves take turns, as a step may still read the one when another workgroup has left its result in the
// other. The initial h is in the first.
fn h_before(s: u32, d: u32, b: u32, k: u32) -> u32 {
    return (s & 1u) * params.h_size + h_index(d, b, k);
}

// Where h of step s goes in the output.
fn y_index(s: u32, d: u32, b: u32, k: u32) -> u32 {
    return chunk.y_offset + time_of(s, d, b) * chunk.y_stride_t + b * chunk.y_stride_b + d * params.recurrent_size + k;
}

// Weights lie in blocks of eight units, [D, ceil(H / 8), K, 8] of G: the invocations of eight units read on in memory as k goes on.
// In the last block units may be missing; their weights are 0.
const BLOCK = 8u;

// Where the weights of a unit begin, of a matrix with K columns; those of the next k are BLOCK further.
fn first_weight(d: u32, u: u32, columns: u32) -> u32 {
    let blocks = (params.hidden_size + BLOCK - 1u) / BLOCK;
    return (d * blocks + u / BLOCK) * columns * BLOCK + u % BLOCK;
}

// The bits, because drivers may assume that floats are never NaN and fold `x != x` to false.
fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// tanh is 1 to within half an f32 ulp from 9.02 on; some drivers return NaN for arguments above 88.
// clamp() turns NaN into a bound on some drivers, so NaN goes round it.
fn safe_tanh(x: f32) -> f32 {
    return select(tanh(clamp(x, -15.0, 15.0)), x, is_nan(x));
}

// With e^-|x| nothing overflows, and a closed gate is 0: exp(-104) is below the least f32.
fn safe_sigmoid(x: f32) -> f32 {
    let e = exp(-min(abs(x), 104.0));
    return select(select(e, 1.0, x >= 0.0) / (1.0 + e), x, is_nan(x));
}
