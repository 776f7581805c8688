// The values of a unit and step that the backward of a GRU works on, if its reset gate acts before the second product:
// the gates r, z, n, which a step replaces by the gradients with respect to their pre-activations, and the operand of
// the second product. A struct, because kernels write one member while others read another: a write to a component of a
// vector may touch all of them.

struct Saved {
    r: f32,
    z: f32,
    n: f32,
    gated: f32, // r ⊙ h(s-1)
}
