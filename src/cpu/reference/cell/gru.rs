//! The GRU cell in its two forms; sources are in shaders/cell/gru.wgsl and gru_reset.wgsl, the GPU twins.

use super::State;
use crate::cell_kind::MAX_GATES;
use crate::cell_kind::gru_gate::{NEW, RESET, UPDATE};
use crate::real::Real;

/// ```text
/// r = σ(gx_r + gh_r)    z = σ(gx_z + gh_z)    n = tanh(gx_n + r ⊙ gh_n)
/// h' = (1 - z) ⊙ n + z ⊙ h
/// ```
pub(crate) fn gru<F: Real>(gx: [F; MAX_GATES], gh: [F; MAX_GATES], old: State<F>) -> State<F> {
    let r = (gx[RESET] + gh[RESET]).sigmoid();
    let z = (gx[UPDATE] + gh[UPDATE]).sigmoid();
    let n = (gx[NEW] + r * gh[NEW]).tanh();
    State { h: (F::one() - z) * n + z * old.h, ..old }
}

/// The form whose reset gate acts before the second product, given that product:
///
/// ```text
/// z = σ(gx_z + gh_z)    n = tanh(gx_n + gh_n)    h' = (1 - z) ⊙ n + z ⊙ h
/// ```
pub(crate) fn gru_reset_before<F: Real>(gx: [F; MAX_GATES], gh: [F; MAX_GATES], old: State<F>) -> State<F> {
    let z = (gx[UPDATE] + gh[UPDATE]).sigmoid();
    let n = (gx[NEW] + gh[NEW]).tanh();
    State { h: (F::one() - z) * n + z * old.h, ..old }
}

/// The operand of its second product: `r ⊙ h` with `r = σ(gx_r + gh_r)`.
pub(crate) fn reset<F: Real>(gx: [F; MAX_GATES], gh: [F; MAX_GATES], h: F) -> F {
    (gx[RESET] + gh[RESET]).sigmoid() * h
}
