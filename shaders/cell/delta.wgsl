// The gradient with respect to the pre-activations of a unit, where it is the same with respect to gx and to gh.
//
// Needs: `Gates` from cell/; `gates` from the bindings of the role.

fn delta_at(at: u32) -> Gates {
    return gates[at];
}
