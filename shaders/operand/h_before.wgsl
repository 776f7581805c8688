// h before each step, kept by the forward: the output of the step before, and the initial state before the first.
//
// Needs: `h_index`, `y_index` from base/rows.wgsl; `y`, `h_0` from the bindings of the role.

// Marks an index in h_0. Bindings have fewer than 2^30 elements.
const INITIAL = 0x80000000u;

// Returns the index at which h before a step begins.
fn h_before_row(s: u32, d: u32, b: u32) -> u32 {
    if (s == 0u) {
        return INITIAL | h_index(d, b, 0u);
    }
    return y_index(s - 1u, d, b, 0u);
}

// Returns an element by its index.
fn value_at(at: u32) -> f32 {
    if (at >= INITIAL) {
        return h_0[at ^ INITIAL];
    }
    return y[at];
}
