// Needs: `Gates` from cell/gates_3.wgsl; `gates` from the bindings of the role.

// Returns the gradient with respect to gx.
fn delta_at(at: u32) -> Gates {
    return vec3<f32>(gates[at].r, gates[at].z, gates[at].n);
}
