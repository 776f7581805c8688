// The projection of h that follows a step of an LSTM with proj_size (Sak, Senior & Beaufays 2014; torch.nn.LSTM):
//
//   h = W_hr[d]·raw        from H values to P
//
// The step has left o ⊙ tanh(c) of all units in raw. Each invocation owns one value of h of one row and direction. The CPU
// twin is the end of cpu/reference/step.rs.

@group(0) @binding(0) var<storage, read> raw: array<f32>;       // [B, D, H]
@group(0) @binding(1) var<storage, read> w_hr: array<f32>;      // [D, H, P]
@group(0) @binding(2) var<storage, read_write> h: array<f32>;   // [2, L, D, state_rows, P], as in recurrence.wgsl
@group(0) @binding(3) var<storage, read_write> y: array<f32>;   // [T, B, D, P] or [B, T, D, P], by y_stride_*
@group(0) @binding(4) var<storage, read_write> h_n: array<f32>; // [L, D, state_rows, P]

@group(1) @binding(2) var<uniform> step_in_chunk: Step;

const TILE_VALUES = 64u;

@compute @workgroup_size(64, 1, 1)
fn shrink(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let d = enter(group.z);
    let s = chunk.first_step + step_in_chunk.index;
    let b = group.y;
    let p = group.x * TILE_VALUES + local.x;
    if (p >= params.recurrent_size) {
        return;
    }
    let at = chunk.h_offset + (d * params.state_rows + state_row(b)) * params.recurrent_size + p;
    let y_at = time_of(s, d, b) * chunk.y_stride_t + b * chunk.y_stride_b + d * params.recurrent_size + p;
    let length = length_of(b);
    if (s >= length) {
        y[y_at] = padding_value();
        if (length == 0u && s == 0u) {
            h_n[at] = h[at];
        }
        return;
    }
    var sum = 0.0;
    for (var u = 0u; u < params.hidden_size; u++) {
        let unit = d * params.hidden_size + u;
        sum += raw[b * params.directions * params.hidden_size + unit] * w_hr[unit * params.recurrent_size + p];
    }
    h[((s + 1u) & 1u) * params.h_size + at] = sum;
    y[y_at] = sum;
    if (s + 1u == length) {
        h_n[at] = sum;
    }
}
