// The gate of the second product of a GRU whose reset gate acts before it, see cell/gru_new.wgsl.
//
// Needs: `InputGates`, `Gates` from cell/; `gates` from backward/recompute.wgsl; `safe_tanh` from base/numeric.wgsl.

// Returns what W_hh·(r ⊙ h) is added to.
fn before_product(of_x: InputGates, bias: Gates) -> Gates {
    return of_x.z + bias;
}

// Stores the gate of a unit, element `at`.
fn activate(at: u32, sum: Gates, row: u32, d: u32, u: u32) {
    gates[at].n = safe_tanh(sum);
}
