// The gradient of a matrix of weights, and of the bias that is added to its product, over the rows of a chunk:
//
//   dW[d, g, u, k] += Σ_rows δ[row, d, u, g]·operand[row, d, k]        db[d, g, u] += Σ_rows δ[row, d, u, g]
//
// A tiled product, in the layout of the weights themselves: columns are the values of k, and one more of ones for the
// bias. An invocation owns two units by eight columns. Rows are added one by one from the last to the first, whatever
// the chunks, so that the result does not depend on how time is cut. Padding is never read: it may be NaN.
//
// Where that would keep only a part of a GPU busy, PARTS workgroups share a tile: each adds every PARTSth step to a
// gradient of its own, and backward/sum_parts.wgsl adds those up.
//
// Needs: `params`, `chunk`, `enter` from base/params.wgsl; `row_count`, `is_step` from base/chunk_rows.wgsl; `Gates`,
// `pack_gates`, `unpack_gates` from cell/; `FourRows`, `add_products` from product/four_rows.wgsl; `delta_at`,
// `operand_start`, `value_at` from cell/ or operand/ or the bindings of the role; `dw`, `units`, `columns`,
// `delta_index`, `weight_index`, `bias_index` from the bindings of the role.

override PARTS: u32;
const TILE_UNITS = 16u;
const TILE_COLUMNS = 64u;
const TILE_ROWS = 16u;
const COLUMN_TILES = 16u; // TILE_COLUMNS / 4

var<workgroup> operands: array<vec4<f32>, 256>; // [TILE_ROWS, COLUMN_TILES] of four columns
var<workgroup> deltas: array<Gates, 256>;       // [TILE_ROWS, TILE_UNITS]

// Returns the operand of a row at a column: 1 in the column of the bias.
fn operand_at(start: u32, k: u32) -> f32 {
    if (k < columns()) {
        return value_at(start + k);
    }
    return select(0.0, 1.0, k == columns());
}

// The part that a workgroup adds to.
var<private> part: u32;

// Returns the index in `dw` of the gradient of a unit at a column.
fn gradient_index(d: u32, u: u32, k: u32) -> u32 {
    let size = bias_index(params.directions, 0u);
    return part * size + select(bias_index(d, u), weight_index(d, u, k), k < columns());
}

// Returns row number `number` of the part, counted from its last; a row past the first step has no place in the chunk.
fn row_of(number: u32) -> u32 {
    let last = chunk.first_step + chunk.steps - 1u;
    // The steps between the part's last one and that of the chunk.
    let after = (last % PARTS + PARTS - part) % PARTS + number / params.batch * PARTS;
    if (after >= chunk.steps) {
        return row_count();
    }
    return (chunk.steps - 1u - after) * params.batch + params.batch - 1u - number % params.batch;
}

fn exists(u: u32, k: u32) -> bool {
    return u < units() && k <= columns();
}

fn load_one(d: u32, u: u32, k: u32) -> Gates {
    if (exists(u, k)) {
        return unpack_gates(dw[gradient_index(d, u, k)]);
    }
    return Gates();
}

fn load_four(d: u32, u: u32, k: u32) -> FourRows {
    return FourRows(load_one(d, u, k), load_one(d, u, k + 1u), load_one(d, u, k + 2u), load_one(d, u, k + 3u));
}

fn store_one(d: u32, u: u32, k: u32, sum: Gates) {
    if (exists(u, k)) {
        dw[gradient_index(d, u, k)] = pack_gates(sum);
    }
}

fn store_four(d: u32, u: u32, k: u32, sum: FourRows) {
    store_one(d, u, k, sum.r0);
    store_one(d, u, k + 1u, sum.r1);
    store_one(d, u, k + 2u, sum.r2);
    store_one(d, u, k + 3u, sum.r3);
}

@compute @workgroup_size(8, 8, 1)
fn weight_gradient(
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(workgroup_id) group: vec3<u32>,
) {
    let d = enter(group.z % params.directions);
    part = group.z / params.directions;
    // Neighboring invocations own neighboring units.
    let u_a = group.x * TILE_UNITS + local.x;
    let u_b = u_a + 8u;
    let k_0 = group.y * TILE_COLUMNS + local.y * 4u;
    let k_1 = k_0 + TILE_COLUMNS / 2u;
    // Each invocation stages four neighboring columns of every fourth row, and every fourth unit.
    let column = index % COLUMN_TILES;
    let k = group.y * TILE_COLUMNS + column * 4u;
    let unit = index % TILE_UNITS;
    let u = group.x * TILE_UNITS + unit;

    var a_0 = load_four(d, u_a, k_0);
    var a_1 = load_four(d, u_a, k_1);
    var b_0 = load_four(d, u_b, k_0);
    var b_1 = load_four(d, u_b, k_1);
    let first = params.chunks[0].k_first;
    let end = min(params.chunks[0].k_end, (params.chunks[0].steps + PARTS - 1u) / PARTS * params.batch);
    for (var base = first; base < end; base += TILE_ROWS) {
        for (var more = 0u; more < TILE_ROWS; more += 4u) {
            let j = more + index / COLUMN_TILES;
            let number = base + j;
            let row = row_of(number);
            var values = vec4<f32>();
            var of_unit = Gates();
            if (number < end && is_step(row)) {
                let start = operand_start(row, d);
                values = vec4<f32>(
                    operand_at(start, k),
                    operand_at(start, k + 1u),
                    operand_at(start, k + 2u),
                    operand_at(start, k + 3u),
                );
                of_unit = delta_at(delta_index(row, d, min(u, units() - 1u)));
            }
            operands[j * COLUMN_TILES + column] = values;
            deltas[j * TILE_UNITS + unit] = of_unit;
        }
        workgroupBarrier();
        for (var j = 0u; j < TILE_ROWS; j++) {
            let x_0 = operands[j * COLUMN_TILES + local.y];
            let x_1 = operands[j * COLUMN_TILES + local.y + 8u];
            let of_a = deltas[j * TILE_UNITS + local.x];
            let of_b = deltas[j * TILE_UNITS + local.x + 8u];
            add_products(&a_0, x_0, of_a);
            add_products(&a_1, x_1, of_a);
            add_products(&b_0, x_0, of_b);
            add_products(&b_1, x_1, of_b);
        }
        workgroupBarrier();
    }
    store_four(d, u_a, k_0, a_0);
    store_four(d, u_a, k_1, a_1);
    store_four(d, u_b, k_0, b_0);
    store_four(d, u_b, k_1, b_1);
}
