// Leaves h of a step: to the step that follows, and after the last step to the caller. The kernels of the recurrence
// and the projection of h share this; k is a unit of the one, a value of the projected h of the other.
//
// Needs: `length_of`, `padding_value`, `h_index`, `h_before`, `y_index` from base/rows.wgsl; `h`, `y`, `h_out` from the
// bindings of the role.

// Leaves h after step s for the step that follows, and if none does for the caller.
fn leave_h(s: u32, d: u32, b: u32, k: u32, value: f32) {
    h[h_before(s + 1u, d, b, k)] = value;
    if (s + 1u == length_of(b)) {
        h_out[h_index(d, b, k)] = value;
    }
}

// A step behind the row's end. A row of no length at all passes its state through.
fn leave_padding(s: u32, d: u32, b: u32, k: u32) {
    y[y_index(s, d, b, k)] = padding_value();
    if (length_of(b) == 0u && s == 0u) {
        h_out[h_index(d, b, k)] = h[h_before(0u, d, b, k)];
    }
}
