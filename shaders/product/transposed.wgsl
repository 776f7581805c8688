// The product of gradients of gates with the transposed weights,
//
//   sum[row, k] = Σ_u Σ_g W[g, u, k]·δ[row, u, g]
//
// A workgroup owns 4·COLUMNS values of k by 4·ROW_TILES rows, and an invocation has four values of k by four rows. The
// weights are those of the forward: in their blocks of eight units, the eight invocations of x read contiguous memory,
// each its own unit of a block. SPLIT times eight invocations therefore share a sum, and their parts are added in a
// fixed order, so that the result is the same on every run.
//
// Needs: `params` from base/params.wgsl; `Gates`, `dot_gates`, `delta_at` from cell/; `BLOCK` from weights/blocks.wgsl;
// `weights_at`, `finish` from the bindings of the role.

override COLUMNS: u32; // of four values of k
override ROW_TILES: u32; // of four rows
override SPLIT: u32;

// [8·SPLIT, tiles, 4 (k)] of four rows
var<workgroup> parts: array<vec4<f32>, 4u * BLOCK * COLUMNS * ROW_TILES * SPLIT>;

// Returns the scalar product of the gates of a unit in four rows with its weights.
fn four_dots(w: Gates, d0: Gates, d1: Gates, d2: Gates, d3: Gates) -> vec4<f32> {
    return vec4<f32>(dot_gates(w, d0), dot_gates(w, d1), dot_gates(w, d2), dot_gates(w, d3));
}

// Computes the sums of a workgroup and finishes each of them. `rows` holds the starts of this invocation's rows in
// `gates`; rows and values of k past the last one are clamped, and `finish` discards their sums. `first` is the start
// of the direction's weights, which have `columns` columns.
fn transposed_product(
    local: vec3<u32>,
    group: vec3<u32>,
    d: u32,
    first: u32,
    columns: u32,
    rows: vec4<u32>,
    blocks: u32,
) {
    let tile = (local.z % ROW_TILES) * COLUMNS + local.y;
    let split = local.z / ROW_TILES;
    let k0 = (group.x * COLUMNS + local.y) * 4u;
    // The starts of four columns in a block of units.
    let last = columns - 1u;
    let k = min(vec4<u32>(k0, k0 + 1u, k0 + 2u, k0 + 3u), vec4<u32>(last)) * BLOCK + first + local.x;
    var sum_0 = vec4<f32>(); // of the first k, in four rows
    var sum_1 = vec4<f32>();
    var sum_2 = vec4<f32>();
    var sum_3 = vec4<f32>();
    for (var base = 0u; base < blocks; base += SPLIT) {
        let block = base + split;
        let u = block * BLOCK + local.x;
        // The last block may lack units. Their weights are 0, but what they multiply may be infinite.
        if (block < blocks && u < params.hidden_size) {
            let at = k + vec4<u32>(block * columns * BLOCK);
            let d0 = delta_at(rows.x + u);
            let d1 = delta_at(rows.y + u);
            let d2 = delta_at(rows.z + u);
            let d3 = delta_at(rows.w + u);
            sum_0 += four_dots(weights_at(at.x), d0, d1, d2, d3);
            sum_1 += four_dots(weights_at(at.y), d0, d1, d2, d3);
            sum_2 += four_dots(weights_at(at.z), d0, d1, d2, d3);
            sum_3 += four_dots(weights_at(at.w), d0, d1, d2, d3);
        }
    }
    let tiles = COLUMNS * ROW_TILES;
    let share = split * BLOCK + local.x;
    let own = (share * tiles + tile) * 4u;
    parts[own] = sum_0;
    parts[own + 1u] = sum_1;
    parts[own + 2u] = sum_2;
    parts[own + 3u] = sum_3;
    workgroupBarrier();
    // The invocations that shared the sums of a tile share its sixteen values, too.
    let row = (group.y * ROW_TILES + local.z % ROW_TILES) * 4u;
    if (SPLIT == 1u) {
        for (var value = share; value < 16u; value += BLOCK) {
            finish(d, row + value % 4u, k0 + value / 4u, sum_parts(tile, value, 0u, 1u));
        }
        return;
    }
    // In two stages: in one, adding the parts of a value would take longer than the product of a small layer. First,
    // each invocation adds sixteen parts.
    let adders = SPLIT / 2u;
    let sum = sum_parts(tile, share % 16u, share / 16u, adders);
    workgroupBarrier();
    parts[share * tiles + tile].x = sum;
    workgroupBarrier();
    if (share < 16u) {
        var value = 0.0;
        for (var adder = 0u; adder < adders; adder++) {
            value += parts[(adder * 16u + share) * tiles + tile].x;
        }
        finish(d, row + share % 4u, k0 + share / 4u, value);
    }
}

// Returns the sum of every `stride`th part of a value of a tile, from `first` on.
fn sum_parts(tile: u32, value: u32, first: u32, stride: u32) -> f32 {
    var sum = 0.0;
    for (var share = first; share < SPLIT * BLOCK; share += stride) {
        sum += parts[(share * COLUMNS * ROW_TILES + tile) * 4u + value / 4u][value % 4u];
    }
    return sum;
}
