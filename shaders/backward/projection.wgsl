// The backward of the projection of h, which follows a backward step of an LSTM with proj_size:
//
//   dm = W_hr[d]ᵀ·dh        from P values to H
//
// and the cell. A workgroup owns TILE_UNITS units of four rows and one direction; SPLIT invocations share the sums of a
// unit, and their parts are added in order. It leaves o ⊙ tanh(c), which was projected, for the gradient of the
// weights. The CPU twin is cpu/reference/backward.rs.
//
// Needs: `params`, `chunk`, `enter` from base/params.wgsl; `length_of` from base/rows.wgsl; `step_in_chunk` from
// base/step.wgsl; `gates_index` from backward/gates.wgsl; `dh_index` from backward/dh_rows.wgsl; `Saved`, `cell_backward` from cell/.

@group(0) @binding(0) var<storage, read_write> gates: array<Saved>;   // [steps, B, D, H]
@group(0) @binding(1) var<storage, read> w_hr: array<f32>;            // [D, H, P]
@group(0) @binding(2) var<storage, read> dh_rows: array<f32>;         // [steps, B, D, P]
@group(0) @binding(3) var<storage, read_write> projected: array<f32>; // o ⊙ tanh(c), [steps, B, D, H]

const TILE_UNITS = 16u;
const TILE_ROWS = 4u;
const SPLIT = 16u;

var<workgroup> parts: array<vec4<f32>, 256>; // [TILE_UNITS, SPLIT] of four rows

// Returns the start of a row of dh, clamped to the last row: what is loaded past the end is not used.
fn dh_row(b: u32, d: u32) -> u32 {
    let row = (step_in_chunk.index - 1u) * params.batch + min(b, params.batch - 1u);
    return dh_index(row, d, 0u);
}

@compute @workgroup_size(16, 1, 16)
fn backward_projection(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let d = enter(group.z);
    let index = step_in_chunk.index - 1u;
    let first_row = group.y * TILE_ROWS;
    // Neighboring invocations read neighboring values of a unit's weights.
    let share = local.x;
    let u = group.x * TILE_UNITS + local.z;
    let rows = vec4<u32>(
        dh_row(first_row, d),
        dh_row(first_row + 1u, d),
        dh_row(first_row + 2u, d),
        dh_row(first_row + 3u, d),
    );
    var sum = vec4<f32>();
    let first = (d * params.hidden_size + min(u, params.hidden_size - 1u)) * params.recurrent_size;
    for (var base = 0u; base < params.recurrent_size; base += SPLIT) {
        let p = base + share;
        if (p < params.recurrent_size) {
            let dh = vec4<f32>(dh_rows[rows.x + p], dh_rows[rows.y + p], dh_rows[rows.z + p], dh_rows[rows.w + p]);
            sum += w_hr[first + p] * dh;
        }
    }
    parts[local.z * SPLIT + share] = sum;
    workgroupBarrier();
    // The first four invocations of a unit finish a row each.
    let b = first_row + share;
    let s = chunk.first_step + index;
    if (share >= TILE_ROWS || b >= params.batch || u >= params.hidden_size || s >= length_of(b)) {
        return;
    }
    var dm = 0.0;
    for (var other = 0u; other < SPLIT; other++) {
        dm += parts[local.z * SPLIT + other][share];
    }
    projected[gates_index(index, d, b, u)] = cell_backward(s, index, d, b, u, dm);
}
