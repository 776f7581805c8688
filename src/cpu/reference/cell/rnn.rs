//! The plain recurrent cell; its source is in shaders/cell/rnn.wgsl, its GPU twin.

use super::{Gradient, State, Stepped, tanh_slope};
use crate::cell_kind::{MAX_GATES, Nonlinearity};
use crate::real::Real;

/// ```text
/// h' = nonlinearity(gx + gh)
/// ```
///
/// Saves h'.
pub(crate) fn rnn<F: Real>(
    nonlinearity: Nonlinearity,
    gx: [F; MAX_GATES],
    gh: [F; MAX_GATES],
    old: State<F>,
) -> Stepped<F> {
    let a = gx[0] + gh[0];
    let h = match nonlinearity {
        Nonlinearity::Tanh => a.tanh(),
        // NaN is not below 0 and stays, as in PyTorch.
        Nonlinearity::Relu if a < F::zero() => F::zero(),
        Nonlinearity::Relu => a,
    };
    let mut saved = [F::zero(); MAX_GATES];
    saved[0] = h;
    Stepped { state: State { h, ..old }, saved }
}

/// ```text
/// tanh: δ = dh' ⊙ (1 - h'²)    relu: δ = dh' where h' > 0, else 0
/// ```
pub(crate) fn backward<F: Real>(nonlinearity: Nonlinearity, saved: [F; MAX_GATES], gradient: State<F>) -> Gradient<F> {
    let h = saved[0];
    let mut gates = [F::zero(); MAX_GATES];
    gates[0] = match nonlinearity {
        Nonlinearity::Tanh => gradient.h * tanh_slope(h),
        // As in PyTorch, the gradient passes where h' is NaN.
        Nonlinearity::Relu if h <= F::zero() => F::zero(),
        Nonlinearity::Relu => gradient.h,
    };
    Gradient { gx: gates, gh: gates, old: State { h: F::zero(), ..gradient } }
}
