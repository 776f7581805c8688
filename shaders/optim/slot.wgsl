// The parameters of the kernels of optimisers, which run over one array of parameters at a time: a slot.
//
// Every invocation of a slot's grid takes every nth element. The host's counterpart is `plan/optim/params.rs`.

struct Slot {
    elements: u32,      // of the parameter
    first: u32,         // of its first element in the arrays of gradients and of what the rule keeps
    first_square: u32,  // of the slot's first sum in `squares`; for the norm, the number of all sums
    clip_value: f32,    // limit of an element of the gradient
    clip_norm: f32,     // limit of the norm of all gradients
    rate: f32,
    decay: f32,         // share of the parameter that is added to its gradient
    kept: f32,          // share of the parameter that stays before the step
    first_rate: f32,    // the rule's factors of what it keeps, see there
    first_share: f32,
    second_rate: f32,
    second_share: f32,
    of_gradient: f32,
    of_first: f32,
    correction: f32,
    eps: f32,
}

@group(1) @binding(0) var<uniform> slot: Slot;

const INVOCATIONS = 256u;

// Returns the invocation's number in the grid, and the number of invocations, which is its stride.
fn place(index: u32, group: u32, groups: u32) -> vec2<u32> {
    return vec2(group * INVOCATIONS + index, groups * INVOCATIONS);
}

// Limits an element of a gradient. A NaN stays one; compilers may assume that no comparison with one occurs, so this
// looks at its bits.
fn clipped(g: f32) -> f32 {
    if ((bitcast<u32>(g) & 0x7fffffffu) > 0x7f800000u) {
        return g;
    }
    if (g > slot.clip_value) {
        return slot.clip_value;
    }
    if (g < -slot.clip_value) {
        return -slot.clip_value;
    }
    return g;
}
