// The parts of the model that are not an LSTM cell.
//
// D roads, K hops, T time steps, B rows of a batch. n is the neighbour vector.

override ROADS: u32; // D
override FEATURES: u32; // K·D
override BATCH: u32; // B
// Elements from the features of a step to those of the next: at least B·K·D, and where a device lets a binding begin.
override STEP: u32;

@group(0) @binding(0) var<storage, read> x: array<f32>; // [T, B, D]
@group(0) @binding(1) var<storage, read> filters: array<f32>; // [K·D, D]: W_gc^k ⊙ Ã^k ⊙ FFR, one below the other
@group(0) @binding(2) var<storage, read_write> features: array<f32>; // [T, B, K·D], steps STEP apart
@group(0) @binding(3) var<storage, read> neighbors: array<f32>; // n, [D]
@group(0) @binding(4) var<storage, read_write> c: array<f32>; // [B, D]

// g_t = (W_gc ⊙ Ã ⊙ FFR) x_t for all hops, steps and rows; one workgroup row per row of x.
@compute @workgroup_size(64)
fn graph_convolution(@builtin(global_invocation_id) id: vec3<u32>) {
    let feature = id.x;
    let row = id.y;
    if (feature >= FEATURES) {
        return;
    }
    var sum = 0.0;
    for (var road = 0u; road < ROADS; road++) {
        sum += filters[feature * ROADS + road] * x[row * ROADS + road];
    }
    features[(row / BATCH) * STEP + (row % BATCH) * FEATURES + feature] = sum;
}

// c = n ⊙ c, between two steps of the cell.
@compute @workgroup_size(64)
fn scale_cell_state(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < BATCH * ROADS) {
        c[id.x] *= neighbors[id.x % ROADS];
    }
}
