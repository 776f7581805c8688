//! The pointwise cells, one file each: forward and backward. The GPU twins are shaders/cell/*.wgsl.

pub(crate) mod general;
mod gru;
mod lstm;
mod rnn;

pub(crate) use gru::{reset, reset_backward};

use crate::cell_kind::{CellKind, MAX_GATES};
use crate::real::Real;

/// The state that one unit carries from step to step, or its gradient; a cell without c leaves c unchanged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct State<F> {
    pub(crate) h: F,
    pub(crate) c: F,
}

/// The result of a step for one unit.
pub(crate) struct Stepped<F> {
    pub(crate) state: State<F>,
    /// The values that the backward needs, [`CellKind::saved`] of them.
    pub(crate) saved: [F; MAX_GATES],
}

/// The gradients of a step for one unit. A gate that the unit does not finish here is zero.
pub(crate) struct Gradient<F> {
    /// With respect to the pre-activations of the input product.
    pub(crate) gx: [F; MAX_GATES],
    /// With respect to those of the recurrent product.
    pub(crate) gh: [F; MAX_GATES],
    /// With respect to the old state, except through the recurrent product.
    pub(crate) old: State<F>,
}

/// Returns the new state of one unit, given its gate pre-activations and its old state.
pub(crate) fn cell<F: Real>(kind: CellKind, gx: [F; MAX_GATES], gh: [F; MAX_GATES], old: State<F>) -> Stepped<F> {
    match kind {
        CellKind::Lstm => lstm::lstm(gx, gh, old),
        CellKind::Gru => gru::gru(gx, gh, old),
        CellKind::GruResetBefore => gru::gru_reset_before(gx, gh, old),
        CellKind::Rnn(nonlinearity) => rnn::rnn(nonlinearity, gx, gh, old),
    }
}

/// Returns the gradients of a step for one unit, given what the step saved, its old state, its new c, and the gradient
/// with respect to its new state (h before a projection).
pub(crate) fn backward<F: Real>(
    kind: CellKind,
    saved: [F; MAX_GATES],
    old: State<F>,
    new_c: F,
    gradient: State<F>,
) -> Gradient<F> {
    match kind {
        CellKind::Lstm => lstm::backward(saved, old, new_c, gradient),
        CellKind::Gru => gru::backward(saved, old, gradient),
        CellKind::GruResetBefore => gru::backward_reset_before(saved, old, gradient),
        CellKind::Rnn(nonlinearity) => rnn::backward(nonlinearity, saved, gradient),
    }
}

/// Returns the derivative of the logistic function, given its value.
fn sigmoid_slope<F: Real>(y: F) -> F {
    y * (F::one() - y)
}

/// Returns the derivative of the hyperbolic tangent, given its value. The product of two factors keeps its precision
/// near saturation, where 1 - y² cancels.
fn tanh_slope<F: Real>(y: F) -> F {
    (F::one() - y) * (F::one() + y)
}
