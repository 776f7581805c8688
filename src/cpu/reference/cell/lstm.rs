//! The LSTM cell; equations and sources are in shaders/cell/lstm.wgsl, its GPU twin.

use super::State;
use crate::cell_kind::MAX_GATES;
use crate::cell_kind::lstm_gate::{CELL, FORGET, INPUT, OUTPUT};
use crate::real::Real;

/// ```text
/// i = σ(gx_i + gh_i)    f = σ(gx_f + gh_f)    g = tanh(gx_g + gh_g)    o = σ(gx_o + gh_o)
/// c' = f ⊙ c + i ⊙ g                          h' = o ⊙ tanh(c')
/// ```
pub(crate) fn lstm<F: Real>(gx: [F; MAX_GATES], gh: [F; MAX_GATES], old: State<F>) -> State<F> {
    let i = (gx[INPUT] + gh[INPUT]).sigmoid();
    let f = (gx[FORGET] + gh[FORGET]).sigmoid();
    let g = (gx[CELL] + gh[CELL]).tanh();
    let o = (gx[OUTPUT] + gh[OUTPUT]).sigmoid();
    let c = f * old.c + i * g;
    State { h: o * c.tanh(), c }
}
