// A cell that hands on h.
//
// Needs: `State` from cell/; `h_out`, `raw_index` from step/recurrence.wgsl.

// Leaves h for its projection.
fn hand_on(state: State, d: u32, b: u32, u: u32) {
    h_out[raw_index(d, b, u)] = state.h;
}
