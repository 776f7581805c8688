// The value of a unit and step that the backward of an RNN works on: the gradient with respect to its pre-activation.

alias Saved = f32;
