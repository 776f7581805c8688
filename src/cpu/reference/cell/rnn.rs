//! The plain recurrent cell; its source is in shaders/cell/rnn.wgsl, its GPU twin.

use super::State;
use crate::cell_kind::{MAX_GATES, Nonlinearity};
use crate::real::Real;

/// ```text
/// h' = nonlinearity(gx + gh)
/// ```
pub(crate) fn rnn<F: Real>(
    nonlinearity: Nonlinearity,
    gx: [F; MAX_GATES],
    gh: [F; MAX_GATES],
    old: State<F>,
) -> State<F> {
    let a = gx[0] + gh[0];
    let h = match nonlinearity {
        Nonlinearity::Tanh => a.tanh(),
        // NaN is not below 0 and stays, as in PyTorch.
        Nonlinearity::Relu if a < F::zero() => F::zero(),
        Nonlinearity::Relu => a,
    };
    State { h, ..old }
}
