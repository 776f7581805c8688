//! The LSTM cell; equations and sources are in shaders/cell/lstm.wgsl, its GPU twin.

use super::{Gradient, State, Stepped, sigmoid_slope, tanh_slope};
use crate::cell_kind::MAX_GATES;
use crate::cell_kind::lstm_gate::{CELL, FORGET, INPUT, OUTPUT};
use crate::real::Real;

/// ```text
/// i = σ(gx_i + gh_i)    f = σ(gx_f + gh_f)    g = tanh(gx_g + gh_g)    o = σ(gx_o + gh_o)
/// c' = f ⊙ c + i ⊙ g                          h' = o ⊙ tanh(c')
/// ```
///
/// Saves i, f, g, o.
pub(crate) fn lstm<F: Real>(gx: [F; MAX_GATES], gh: [F; MAX_GATES], old: State<F>) -> Stepped<F> {
    let i = (gx[INPUT] + gh[INPUT]).sigmoid();
    let f = (gx[FORGET] + gh[FORGET]).sigmoid();
    let g = (gx[CELL] + gh[CELL]).tanh();
    let o = (gx[OUTPUT] + gh[OUTPUT]).sigmoid();
    let c = f * old.c + i * g;
    Stepped { state: State { h: o * c.tanh(), c }, saved: [i, f, g, o] }
}

/// ```text
/// dc' += dh' ⊙ o ⊙ tanh'(c')
/// δi = dc' ⊙ g ⊙ i(1 - i)    δf = dc' ⊙ c ⊙ f(1 - f)    δg = dc' ⊙ i ⊙ (1 - g²)    δo = dh' ⊙ tanh(c') ⊙ o(1 - o)
/// dc = dc' ⊙ f
/// ```
pub(crate) fn backward<F: Real>(
    [i, f, g, o]: [F; MAX_GATES],
    old: State<F>,
    new_c: F,
    gradient: State<F>,
) -> Gradient<F> {
    let tanh_c = new_c.tanh();
    let dc = gradient.c + gradient.h * o * tanh_slope(tanh_c);
    let mut gates = [F::zero(); MAX_GATES];
    gates[INPUT] = dc * g * sigmoid_slope(i);
    gates[FORGET] = dc * old.c * sigmoid_slope(f);
    gates[CELL] = dc * i * tanh_slope(g);
    gates[OUTPUT] = gradient.h * tanh_c * sigmoid_slope(o);
    Gradient { gx: gates, gh: gates, old: State { h: F::zero(), c: dc * f } }
}
