// The gradient of W_hr, see backward/weight_gradient.wgsl; "units" are the values of the projected h, and the operand
// is o ⊙ tanh(c). There is no bias.
//
// Needs: `params` from base/params.wgsl; `Gates`, `PackedGates` from cell/gates_1.wgsl; `dh_index` from
// backward/dh_rows.wgsl.

@group(0) @binding(0) var<storage, read> dh_rows: array<f32>;           // [steps, B, D, P]
@group(0) @binding(1) var<storage, read_write> dw: array<PackedGates>;  // [D, H, P] and, unused, [D, P]
@group(0) @binding(2) var<storage, read> projected: array<f32>;         // [steps, B, D, H]

fn units() -> u32 {
    return params.recurrent_size;
}

fn columns() -> u32 {
    return params.hidden_size;
}

fn delta_index(row: u32, d: u32, p: u32) -> u32 {
    return dh_index(row, d, p);
}

fn delta_at(at: u32) -> Gates {
    return dh_rows[at];
}

// Returns the index at which the vector of a row begins.
fn operand_start(row: u32, d: u32) -> u32 {
    return (row * params.directions + d) * params.hidden_size;
}

// Returns an element by its index in the binding.
fn value_at(at: u32) -> f32 {
    return projected[at];
}

// Returns the index of the gradient of a weight, which is that of the weight.
fn weight_index(d: u32, p: u32, u: u32) -> u32 {
    return (d * params.hidden_size + u) * params.recurrent_size + p;
}

fn bias_index(d: u32, p: u32) -> u32 {
    return (params.directions * params.hidden_size + d) * params.recurrent_size + p;
}
