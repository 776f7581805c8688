// Needs: `Gates` from cell/gates_1.wgsl; `gates` from the bindings of the role.

// Returns the gradient with respect to the second product.
fn delta_at(at: u32) -> Gates {
    return gates[at].n;
}
