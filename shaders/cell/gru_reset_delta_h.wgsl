// Needs: `Gates` from cell/gates_2.wgsl; `gates` from the bindings of the role.

// Returns the gradient with respect to the first product.
fn delta_at(at: u32) -> Gates {
    return vec2<f32>(gates[at].r, gates[at].z);
}
