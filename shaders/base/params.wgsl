// The legend and the parameter blocks shared by all kernels.
//
// T time steps · B batch · I input features of this layer · H hidden size · P size of h (H without a projection)
// L layers · D directions · G gates
// d direction (0 forward, 1 reverse) · u hidden unit · b batch row · t time · s step
//
// A direction walks a row in its own order: step s is time s in the forward direction and time length-1-s in reverse,
// which therefore starts at the row's own last element. Steps past the row's length only write padding: there, step s
// is time s in both directions.
// Arrays are named with their shape, slowest dimension first.
//
// A loop runs the same number of iterations in all invocations of a workgroup and checks inside whether there is work:
// if some invocations leave it earlier, NVK's compiler keeps up to three copies of everything carried through the loop,
// and a dozen sums exhaust the registers.
//
// A kernel is a concatenation of files; src/gpu/shader.rs lists the files of each kernel. The head of a file lists the
// names it needs and the files that define them.
//
// Needs: `CHUNKS` from base/one_chunk.wgsl or base/wavefront.wgsl.

/// One layer over one chunk of time steps and, for the input product, one slice of its features. The host's counterpart
/// is `plan/params.rs`.
struct Chunk {
    input_size: u32,   // I of this layer
    first_step: u32,   // first step of the chunk
    steps: u32,        // number of steps in the chunk
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
    dropout_key: u32,  // index in call_words of the dropout key of this layer's input
    dropout_threshold: u32,
    dropout_scale: f32,
    direction: u32,    // that of a dispatch over one of them
}

/// Shared by all layers and chunks of a call, followed by the chunks of a dispatch.
struct Params {
    batch: u32,        // B
    hidden_size: u32,  // H
    recurrent_size: u32, // P
    directions: u32,   // D
    state_rows: u32,   // rows of the state arrays: B, or the capacity of the streams
    h_size: u32,       // elements of h of all layers [L, D, state_rows, P]
    c_stride_s: u32,   // elements from c before a step to c after it: 0 where it is updated in place
    first_direction: u32, // 1 if the only direction is the reverse one
    chunks: array<Chunk, CHUNKS>,
}

@group(1) @binding(0) var<uniform> params: Params;
// [B] lengths, [B] state rows, the bits of the padding value, then one dropout key of two words for each layer except
// the last.
@group(1) @binding(1) var<storage, read> call_words: array<u32>;

// The chunk that a workgroup works on. Bounds of loops with barriers are read from params, which is known to be
// uniform.
var<private> chunk: Chunk;

// Selects the chunk by z of the grid: a direction of the only chunk or, in a wave, the chunk and direction of one of
// the layers. Returns the direction.
fn enter(z: u32) -> u32 {
    chunk = params.chunks[z / params.directions];
    return z % params.directions;
}
