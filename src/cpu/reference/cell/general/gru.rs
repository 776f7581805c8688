//! The GRU cell with ONNX's options, in its two forms.

use super::{General, State};
use crate::cell_kind::MAX_GATES;
use crate::cell_kind::gru_gate::{NEW, RESET, UPDATE};
use crate::real::Real;

impl<F: Real> General<F> {
    /// ```text
    /// r = f(clip(gx_r + gh_r))    z = f(clip(gx_z + gh_z))    n = g(clip(gx_n + r ⊙ gh_n))
    /// h' = (1 - z) ⊙ n + z ⊙ h
    /// ```
    pub(super) fn gru(&self, gx: [F; MAX_GATES], gh: [F; MAX_GATES], old: State<F>) -> State<F> {
        let r = self.f(gx[RESET] + gh[RESET]);
        self.updated(gx, gh, gx[NEW] + r * gh[NEW], old)
    }

    /// The form whose reset gate acts before the second product, given that product:
    ///
    /// ```text
    /// z = f(clip(gx_z + gh_z))    n = g(clip(gx_n + gh_n))    h' = (1 - z) ⊙ n + z ⊙ h
    /// ```
    pub(super) fn gru_reset_before(&self, gx: [F; MAX_GATES], gh: [F; MAX_GATES], old: State<F>) -> State<F> {
        self.updated(gx, gh, gx[NEW] + gh[NEW], old)
    }

    /// Returns the operand of the second product: `r ⊙ h` with `r = f(clip(gx_r + gh_r))`.
    pub(crate) fn reset(&self, gx: [F; MAX_GATES], gh: [F; MAX_GATES], h: F) -> F {
        self.f(gx[RESET] + gh[RESET]) * h
    }

    fn updated(&self, gx: [F; MAX_GATES], gh: [F; MAX_GATES], new: F, old: State<F>) -> State<F> {
        let z = self.f(gx[UPDATE] + gh[UPDATE]);
        let n = self.g(new);
        State { h: (F::one() - z) * n + z * old.h, ..old }
    }
}
