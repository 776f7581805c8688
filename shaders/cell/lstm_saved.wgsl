// The values of a unit and step that the backward of an LSTM works on: its activated gates i, f, g, o, which a step
// replaces by the gradients with respect to their pre-activations.

alias Saved = vec4<f32>;
