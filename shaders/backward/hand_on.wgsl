// The end of a backward step if h is projected: backward/projection.wgsl takes dh through the projection to the cell.
//
// Needs: `params` from base/params.wgsl; `h_index` from base/rows.wgsl; `dh_index` from
// backward/dh_rows.wgsl; `carry` from backward/step.wgsl.

@group(0) @binding(4) var<storage, read_write> dh_rows: array<f32>; // [steps, B, D, P]

// Takes the gradient with respect to h of step s.
fn arrive(s: u32, index: u32, d: u32, b: u32, k: u32, dh: f32) {
    dh_rows[dh_index(index * params.batch + b, d, k)] = dh;
    carry[h_index(d, b, k)] = 0.0;
}
