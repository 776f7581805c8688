// The projection of h that follows a step of an LSTM with proj_size (Sak, Senior & Beaufays 2014; torch.nn.LSTM):
//
//   h = W_hr[d]·raw        from H values to P
//
// The step has left o ⊙ tanh(c) of all units in raw. A workgroup owns TILE_VALUES values of h of one row and direction; SPLIT
// invocations share the sum of a value, and their parts are added in order. The CPU twin is the end of cpu/reference/step.rs.

@group(0) @binding(0) var<storage, read> raw: array<f32>;       // [B, D, H]
@group(0) @binding(1) var<storage, read> w_hr: array<f32>;      // [D, H, P]
@group(0) @binding(2) var<storage, read_write> h: array<f32>;   // [2, L, D, state_rows, P], as in recurrence.wgsl
@group(0) @binding(3) var<storage, read_write> y: array<f32>;   // [T, B, D, P] or [B, T, D, P], by y_stride_*
@group(0) @binding(4) var<storage, read_write> h_n: array<f32>; // [L, D, state_rows, P]

@group(1) @binding(2) var<uniform> step_in_chunk: Step;

const TILE_VALUES = 16u;
const SPLIT = 16u;

var<workgroup> parts: array<f32, 256>; // [SPLIT, TILE_VALUES]

@compute @workgroup_size(16, 1, 16)
fn shrink(
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(workgroup_id) group: vec3<u32>,
) {
    let d = enter(group.z);
    let s = chunk.first_step + step_in_chunk.index;
    let b = group.y;
    let p = group.x * TILE_VALUES + local.x;

    var sum = 0.0;
    if (p < params.recurrent_size) {
        let raw_row = (b * params.directions + d) * params.hidden_size;
        let column = d * params.hidden_size * params.recurrent_size + p;
        var u = local.z;
        // Four at a time, so that their loads are under way together.
        for (; u + 3u * SPLIT < params.hidden_size; u += 4u * SPLIT) {
            let r0 = raw[raw_row + u];
            let r1 = raw[raw_row + u + SPLIT];
            let r2 = raw[raw_row + u + 2u * SPLIT];
            let r3 = raw[raw_row + u + 3u * SPLIT];
            sum += r0 * w_hr[column + u * params.recurrent_size];
            sum += r1 * w_hr[column + (u + SPLIT) * params.recurrent_size];
            sum += r2 * w_hr[column + (u + 2u * SPLIT) * params.recurrent_size];
            sum += r3 * w_hr[column + (u + 3u * SPLIT) * params.recurrent_size];
        }
        for (; u < params.hidden_size; u += SPLIT) {
            sum += raw[raw_row + u] * w_hr[column + u * params.recurrent_size];
        }
    }
    parts[index] = sum;
    workgroupBarrier();
    if (local.z != 0u || p >= params.recurrent_size) {
        return;
    }
    for (var z = 1u; z < SPLIT; z++) {
        sum += parts[z * TILE_VALUES + local.x];
    }

    let at = h_index(d, b, p);
    let y_at = y_index(s, d, b, p);
    let length = length_of(b);
    if (s >= length) {
        y[y_at] = padding_value();
        if (length == 0u && s == 0u) {
            h_n[at] = h[h_before(0u, d, b, p)];
        }
        return;
    }
    h[h_before(s + 1u, d, b, p)] = sum;
    y[y_at] = sum;
    if (s + 1u == length) {
        h_n[at] = sum;
    }
}
