// The product of all rows of a chunk with the weights of all units: a tiled GEMM. Rows are the chunk's (s, b) pairs,
// columns the units with their gates side by side; z is the direction. An invocation owns two units by eight rows, as
// four register tiles. Every element sums over k in the same order wherever it lies in a tile, so the result does not
// depend on how time is cut into chunks.
//
// Needs: `params`, `enter` from base/params.wgsl; `Gates` from cell/; `BLOCK` from weights/blocks.wgsl;
// `FourRows`, `add_products` from product/four_rows.wgsl; `row_count` from base/chunk_rows.wgsl; `operand_start`,
// `value_at` from operand/; `start_of`, `leave_four`, `weights_at`, `first_weight_of`, `first_k`, `end_k` from
// input_product/bindings.wgsl or backward/recompute.wgsl.

const TILE_UNITS = 16u;
const TILE_ROWS = 64u;
const TILE_K = 16u;
const ROW_TILES = 16u; // TILE_ROWS / 4
const INVOCATIONS = 64u;

var<workgroup> x_tile: array<vec4<f32>, 256>; // [TILE_K, ROW_TILES] of four rows
var<workgroup> w_tile: array<Gates, 256>;     // [TILE_K, TILE_UNITS]

fn load_four(row: u32, rows: u32, d: u32, u: u32) -> FourRows {
    return FourRows(
        load_start(row, rows, d, u),
        load_start(row + 1u, rows, d, u),
        load_start(row + 2u, rows, d, u),
        load_start(row + 3u, rows, d, u),
    );
}

fn x_or_zero(offset: u32, k: u32, row: u32, rows: u32) -> f32 {
    if (row < rows && k < end_k()) {
        return value_at(offset + k);
    }
    return 0.0;
}

// Returns the initial value of a sum, or zeros outside the matrix.
fn load_start(row: u32, rows: u32, d: u32, u: u32) -> Gates {
    if (u >= params.hidden_size || row >= rows) {
        return Gates();
    }
    return start_of(row, d, u);
}

@compute @workgroup_size(8, 8, 1)
fn tiled_product(
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(workgroup_id) group: vec3<u32>,
) {
    let d = enter(group.z);
    let rows = row_count();
    // Neighboring invocations own neighboring units and rows.
    let u_a = group.x * TILE_UNITS + local.x;
    let u_b = u_a + 8u;
    let row_0 = group.y * TILE_ROWS + local.y * 4u;
    let row_1 = row_0 + TILE_ROWS / 2u;

    // Staging of x: an invocation has four rows, whose offsets it looks up once, and every fourth k of the tile.
    let stage_tile = index / 4u;
    let r0 = group.y * TILE_ROWS + stage_tile * 4u;
    let x0 = operand_start(r0, d);
    let x1 = operand_start(r0 + 1u, d);
    let x2 = operand_start(r0 + 2u, d);
    let x3 = operand_start(r0 + 3u, d);
    // Staging of weights: 16 neighboring invocations read 16 neighboring units, four values of k in turn.
    let stage_unit = group.x * TILE_UNITS + index % TILE_UNITS;

    var a_0 = load_four(row_0, rows, d, u_a); // unit a, the first four rows
    var a_1 = load_four(row_1, rows, d, u_a);
    var b_0 = load_four(row_0, rows, d, u_b);
    var b_1 = load_four(row_1, rows, d, u_b);
    for (var k0 = first_k(); k0 < end_k(); k0 += TILE_K) {
        for (var base = 0u; base < TILE_K; base += 4u) {
            let j = base + index % 4u;
            x_tile[j * ROW_TILES + stage_tile] = vec4<f32>(
                x_or_zero(x0, k0 + j, r0, rows),
                x_or_zero(x1, k0 + j, r0 + 1u, rows),
                x_or_zero(x2, k0 + j, r0 + 2u, rows),
                x_or_zero(x3, k0 + j, r0 + 3u, rows),
            );
        }
        for (var base = 0u; base < TILE_K; base += INVOCATIONS / TILE_UNITS) {
            let j = base + index / TILE_UNITS;
            var w = Gates();
            if (k0 + j < end_k() && stage_unit < params.hidden_size) {
                w = weights_at(first_weight_of(d, stage_unit) + (k0 + j) * BLOCK);
            }
            w_tile[j * TILE_UNITS + index % TILE_UNITS] = w;
        }
        workgroupBarrier();

        for (var j = 0u; j < TILE_K; j++) {
            let x_0 = x_tile[j * ROW_TILES + local.y];
            let x_1 = x_tile[j * ROW_TILES + local.y + 8u];
            let w_a = w_tile[j * TILE_UNITS + local.x];
            let w_b = w_tile[j * TILE_UNITS + local.x + 8u];
            add_products(&a_0, x_0, w_a);
            add_products(&a_1, x_1, w_a);
            add_products(&b_0, x_0, w_b);
            add_products(&b_1, x_1, w_b);
        }
        workgroupBarrier();
    }

    leave_four(row_0, rows, d, u_a, a_0);
    leave_four(row_1, rows, d, u_a, a_1);
    leave_four(row_0, rows, d, u_b, b_0);
    leave_four(row_1, rows, d, u_b, b_1);
}
