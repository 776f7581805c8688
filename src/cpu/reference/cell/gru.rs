//! The GRU cell in its two forms; sources are in shaders/cell/gru.wgsl and gru_reset.wgsl, the GPU twins.

use super::{Gradient, State, Stepped, sigmoid_slope, tanh_slope};
use crate::cell_kind::MAX_GATES;
use crate::cell_kind::gru_gate::{NEW, RESET, UPDATE};
use crate::real::Real;

/// ```text
/// r = σ(gx_r + gh_r)    z = σ(gx_z + gh_z)    n = tanh(gx_n + r ⊙ gh_n)
/// h' = (1 - z) ⊙ n + z ⊙ h
/// ```
///
/// Saves r, z, n, gh_n.
pub(crate) fn gru<F: Real>(gx: [F; MAX_GATES], gh: [F; MAX_GATES], old: State<F>) -> Stepped<F> {
    let r = (gx[RESET] + gh[RESET]).sigmoid();
    let z = (gx[UPDATE] + gh[UPDATE]).sigmoid();
    let n = (gx[NEW] + r * gh[NEW]).tanh();
    Stepped { state: State { h: (F::one() - z) * n + z * old.h, ..old }, saved: [r, z, n, gh[NEW]] }
}

/// ```text
/// δn = dh' ⊙ (1 - z) ⊙ (1 - n²)    δz = dh' ⊙ (h - n) ⊙ z(1 - z)    δr = δn ⊙ gh_n ⊙ r(1 - r)
/// through the input product (δr, δz, δn), through the recurrent one (δr, δz, δn ⊙ r)
/// dh = dh' ⊙ z
/// ```
pub(crate) fn backward<F: Real>([r, z, n, gh_n]: [F; MAX_GATES], old: State<F>, gradient: State<F>) -> Gradient<F> {
    let (update, new) = (update_gradient(z, n, old, gradient), new_gradient(z, n, gradient));
    let mut gx = [F::zero(); MAX_GATES];
    gx[RESET] = new * gh_n * sigmoid_slope(r);
    gx[UPDATE] = update;
    gx[NEW] = new;
    let mut gh = gx;
    gh[NEW] = new * r;
    Gradient { gx, gh, old: State { h: gradient.h * z, ..gradient } }
}

/// The form whose reset gate acts before the second product, given that product:
///
/// ```text
/// z = σ(gx_z + gh_z)    n = tanh(gx_n + gh_n)    h' = (1 - z) ⊙ n + z ⊙ h
/// ```
///
/// Saves r, z, n.
pub(crate) fn gru_reset_before<F: Real>(gx: [F; MAX_GATES], gh: [F; MAX_GATES], old: State<F>) -> Stepped<F> {
    let r = (gx[RESET] + gh[RESET]).sigmoid();
    let z = (gx[UPDATE] + gh[UPDATE]).sigmoid();
    let n = (gx[NEW] + gh[NEW]).tanh();
    Stepped { state: State { h: (F::one() - z) * n + z * old.h, ..old }, saved: [r, z, n, F::zero()] }
}

/// The gradients of this form, except through the reset gate, for which [`reset_backward`] needs the gradient of the
/// second product's operand: `W_hnᵀ·δn`.
pub(crate) fn backward_reset_before<F: Real>(
    [_, z, n, _]: [F; MAX_GATES],
    old: State<F>,
    gradient: State<F>,
) -> Gradient<F> {
    let mut gates = [F::zero(); MAX_GATES];
    gates[UPDATE] = update_gradient(z, n, old, gradient);
    gates[NEW] = new_gradient(z, n, gradient);
    Gradient { gx: gates, gh: gates, old: State { h: gradient.h * z, ..gradient } }
}

/// Returns the operand of the second product: `r ⊙ h` with `r = σ(gx_r + gh_r)`.
pub(crate) fn reset<F: Real>(gx: [F; MAX_GATES], gh: [F; MAX_GATES], h: F) -> F {
    (gx[RESET] + gh[RESET]).sigmoid() * h
}

/// Returns the gradients of δr and of h, given that of the operand:
///
/// ```text
/// δr = d(r ⊙ h) ⊙ h ⊙ r(1 - r)    dh = d(r ⊙ h) ⊙ r
/// ```
pub(crate) fn reset_backward<F: Real>(saved: [F; MAX_GATES], h: F, operand: F) -> (F, F) {
    let r = saved[RESET];
    (operand * h * sigmoid_slope(r), operand * r)
}

fn update_gradient<F: Real>(z: F, n: F, old: State<F>, gradient: State<F>) -> F {
    gradient.h * (old.h - n) * sigmoid_slope(z)
}

fn new_gradient<F: Real>(z: F, n: F, gradient: State<F>) -> F {
    gradient.h * (F::one() - z) * tanh_slope(n)
}
