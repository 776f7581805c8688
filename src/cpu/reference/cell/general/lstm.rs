//! The LSTM cell with ONNX's options.

use super::{General, State};
use crate::cell_kind::MAX_GATES;
use crate::cell_kind::lstm_gate::{CELL, FORGET, INPUT, OUTPUT};
use crate::real::Real;

impl<F: Real> General<F> {
    /// ```text
    /// i = f(clip(gx_i + gh_i + p_i ⊙ c))    f = f(clip(gx_f + gh_f + p_f ⊙ c)), or 1 - i with input_forget
    /// g = g(clip(gx_g + gh_g))              c' = f ⊙ c + i ⊙ g
    /// o = f(clip(gx_o + gh_o + p_o ⊙ c'))   h' = o ⊙ h(c')
    /// ```
    pub(super) fn lstm(&self, u: usize, gx: [F; MAX_GATES], gh: [F; MAX_GATES], old: State<F>) -> State<F> {
        let [_, _, h] = self.activations;
        let hidden = self.peephole.len() / 3;
        let seen = |gate: usize, c: F| match self.peephole.get(gate * hidden + u) {
            Some(&weight) if hidden > 0 => weight * c,
            _ => F::zero(),
        };
        let i = self.f(gx[INPUT] + gh[INPUT] + seen(0, old.c));
        let f = match self.input_forget {
            true => F::one() - i,
            false => self.f(gx[FORGET] + gh[FORGET] + seen(1, old.c)),
        };
        let c = f * old.c + i * self.g(gx[CELL] + gh[CELL]);
        let o = self.f(gx[OUTPUT] + gh[OUTPUT] + seen(2, c));
        State { h: o * h.apply(c), c }
    }
}
