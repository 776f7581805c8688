// The values of a unit and step that the backward of a GRU works on: r, z, n and gh_n, which a step replaces by the
// gradients with respect to them: δr, δz, δn, and δn ⊙ r for gh_n.

alias Saved = vec4<f32>;
