// The projection of h that follows a step of an LSTM with proj_size (Sak, Senior & Beaufays 2014; torch.nn.LSTM):
//
//   h = W_hr[d]·raw        from H values to P
//
// The step has left o ⊙ tanh(c) of all units in raw. A workgroup owns TILE_VALUES values of h of four rows and one
// direction, so that a weight that is read serves four sums; SPLIT invocations share the sums of a value, and their
// parts are added in order. The CPU twin is the end of cpu/reference/step.rs.
//
// Needs: `params`, `enter` from base/params.wgsl; `length_of`, `y_index` from base/rows.wgsl; `current_step` from
// base/step.wgsl; `leave_h`, `leave_padding` from step/leave_h.wgsl.

@group(0) @binding(0) var<storage, read> raw: array<f32>;       // [B, D, H]
@group(0) @binding(1) var<storage, read> w_hr: array<f32>;      // [D, H, P]
@group(0) @binding(2) var<storage, read_write> h: array<f32>;   // [2, L, D, state_rows, P], as in step/recurrence.wgsl
@group(0) @binding(3) var<storage, read_write> y: array<f32>;   // [T, B, D, P] or [B, T, D, P], by y_stride_*
@group(0) @binding(4) var<storage, read_write> h_out: array<f32>; // h_n [L, D, state_rows, P]

const TILE_VALUES = 16u;
const TILE_ROWS = 4u;
const SPLIT = 16u;

var<workgroup> parts: array<vec4<f32>, 256>; // [SPLIT, TILE_VALUES] of four rows

// raw of a unit in four rows, of which the first elements are at `rows`.
fn four_raws(rows: vec4<u32>, u: u32) -> vec4<f32> {
    return vec4<f32>(raw[rows.x + u], raw[rows.y + u], raw[rows.z + u], raw[rows.w + u]);
}

// The last row for those that are not there: what is loaded beyond it is not used.
fn raw_row(b: u32, d: u32) -> u32 {
    return (min(b, params.batch - 1u) * params.directions + d) * params.hidden_size;
}

@compute @workgroup_size(16, 1, 16)
fn projection(
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(workgroup_id) group: vec3<u32>,
) {
    let d = enter(group.z);
    let s = current_step();
    let first_row = group.y * TILE_ROWS;
    let p = group.x * TILE_VALUES + local.x;

    var sum = vec4<f32>();
    if (p < params.recurrent_size) {
        let rows = vec4<u32>(
            raw_row(first_row, d),
            raw_row(first_row + 1u, d),
            raw_row(first_row + 2u, d),
            raw_row(first_row + 3u, d),
        );
        let column = d * params.hidden_size * params.recurrent_size + p;
        // Two at a time, so that their loads are under way together.
        for (var base = 0u; base < params.hidden_size; base += 2u * SPLIT) {
            let u = base + local.z;
            if (u + SPLIT < params.hidden_size) {
                let w0 = w_hr[column + u * params.recurrent_size];
                let w1 = w_hr[column + (u + SPLIT) * params.recurrent_size];
                let raw0 = four_raws(rows, u);
                let raw1 = four_raws(rows, u + SPLIT);
                sum += raw0 * w0;
                sum += raw1 * w1;
            } else if (u < params.hidden_size) {
                sum += four_raws(rows, u) * w_hr[column + u * params.recurrent_size];
            }
        }
    }
    parts[index] = sum;
    workgroupBarrier();
    // The invocation with z = r finishes row r of the four.
    let b = first_row + local.z;
    if (local.z >= TILE_ROWS || b >= params.batch || p >= params.recurrent_size) {
        return;
    }
    var value = 0.0;
    for (var z = 0u; z < SPLIT; z++) {
        value += parts[z * TILE_VALUES + local.x][local.z];
    }

    if (s < length_of(b)) {
        y[y_index(s, d, b, p)] = value;
        leave_h(s, d, b, p, value);
    } else {
        leave_padding(s, d, b, p);
    }
}
