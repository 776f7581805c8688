// The gates of the first product of a GRU whose reset gate acts before the second, see cell/gru_reset.wgsl, and the
// operand of the second.
//
// Needs: `InputGates`, `Gates` from cell/; `gates`
// from backward/recompute.wgsl; `value_at` from operand/h_before.wgsl; `operand_start` from
// operand/h_of_rows.wgsl; `safe_sigmoid` from
// base/numeric.wgsl.

// Returns what W_hh·h is added to.
fn before_product(of_x: InputGates, bias: Gates) -> Gates {
    return of_x.xy + bias;
}

// Stores the gates of a unit, element `at`.
fn activate(at: u32, sum: Gates, row: u32, d: u32, u: u32) {
    let r = safe_sigmoid(sum.x);
    gates[at].r = r;
    gates[at].z = safe_sigmoid(sum.y);
    gates[at].gated = r * value_at(operand_start(row, d) + u);
}
