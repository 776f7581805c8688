//! The gradients of the pointwise cells over vectors of units; the equations are in cpu/reference/cell/.

use pulp::Simd;

use crate::cell_kind::{CellKind, Nonlinearity, gru_gate, lstm_gate};

/// What a step knows of a vector of units.
pub(super) struct Values<V, const G: usize> {
    pub(super) saved: [V; G],
    pub(super) extra: V,
    pub(super) old_h: V,
    pub(super) old_c: V,
    pub(super) tanh_c: V,
}

/// The gradients of a step for a vector of units.
pub(super) struct Gradient<V, const G: usize> {
    /// With respect to gx. That of a GRU's r is zero if a second product has yet to give it.
    pub(super) gates: [V; G],
    /// With respect to the old h, except through the recurrent product.
    pub(super) h: V,
    /// With respect to the old c.
    pub(super) c: V,
}

/// Returns the gradients of a step, by the equations of cpu/reference/cell/.
#[inline(always)]
pub(super) fn backward<S: Simd, const G: usize>(
    simd: S,
    cell: CellKind,
    values: &Values<S::f32s, G>,
    dh: S::f32s,
    dc: S::f32s,
) -> Gradient<S::f32s, G> {
    let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
    let mul = |a, b| simd.mul_f32s(a, b);
    let open = |y| simd.sub_f32s(one, y);
    let of_sigmoid = |y| mul(y, open(y));
    let of_tanh = |y| mul(open(y), simd.add_f32s(one, y));
    let saved = |g: usize| values.saved[g % G];
    let mut gates = [zero; G];
    match cell {
        CellKind::Lstm => {
            use lstm_gate::{CELL, FORGET, INPUT, OUTPUT};
            let (i, f, g, o) = (saved(INPUT), saved(FORGET), saved(CELL), saved(OUTPUT));
            let dc = simd.add_f32s(dc, mul(mul(dh, o), of_tanh(values.tanh_c)));
            gates[INPUT % G] = mul(mul(dc, g), of_sigmoid(i));
            gates[FORGET % G] = mul(mul(dc, values.old_c), of_sigmoid(f));
            gates[CELL % G] = mul(mul(dc, i), of_tanh(g));
            gates[OUTPUT % G] = mul(mul(dh, values.tanh_c), of_sigmoid(o));
            Gradient { gates, h: zero, c: mul(dc, f) }
        }
        CellKind::Gru | CellKind::GruResetBefore => {
            use gru_gate::{NEW, RESET, UPDATE};
            let (r, z, n) = (saved(RESET), saved(UPDATE), saved(NEW));
            let of_n = mul(mul(dh, open(z)), of_tanh(n));
            gates[NEW % G] = of_n;
            gates[UPDATE % G] = mul(mul(dh, simd.sub_f32s(values.old_h, n)), of_sigmoid(z));
            if cell == CellKind::Gru {
                gates[RESET % G] = mul(mul(of_n, values.extra), of_sigmoid(r));
            }
            Gradient { gates, h: mul(dh, z), c: dc }
        }
        CellKind::Rnn(nonlinearity) => {
            let h = saved(0);
            gates[0] = match nonlinearity {
                Nonlinearity::Tanh => mul(dh, of_tanh(h)),
                // As in PyTorch, the gradient passes where h is NaN.
                Nonlinearity::Relu => simd.select_f32s(simd.less_than_or_equal_f32s(h, zero), zero, dh),
            };
            Gradient { gates, h: zero, c: dc }
        }
    }
}
