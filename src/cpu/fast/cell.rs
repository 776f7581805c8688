//! The pointwise cells over vectors of units; equations and sources are in shaders/cell/*.wgsl.
//!
//! A [`Cell`] runs the products of a step in order, each fused with its part of the cell, a [`Product`].

use pulp::Simd;

use super::activation::{relu, sigmoid, tanh};
use crate::cell_kind::{gru_gate, lstm_gate};

/// The state that a vector of units carries from step to step; a cell without c leaves c unchanged, or passes data from
/// its first product to its second in it.
pub(super) struct State<V> {
    pub(super) h: V,
    pub(super) c: V,
}

/// The result of a product for a vector of units.
pub(super) struct Stepped<V, const G: usize> {
    pub(super) state: State<V>,
    /// The values that the backward needs, which take the place of gx.
    pub(super) saved: [V; G],
    /// The one value more that a GRU saves: the recurrent part of n. For other cells it is unused.
    pub(super) extra: V,
}

/// A recurrent product of N gates, in a cell whose input product has G.
pub(super) trait Product<const N: usize, const G: usize>: Copy + Send + Sync {
    /// The index among the products of a step: the first multiplies h, each other the h that its predecessor stores.
    const NUMBER: usize = 0;

    /// Returns the new state, given the pre-activations and the old state. Unless the product is the step's last, the
    /// new h is only for the next product, whose old h is that of the previous step.
    fn apply<S: Simd>(simd: S, gx: [S::f32s; G], gh: [S::f32s; N], old: State<S::f32s>) -> Stepped<S::f32s, G>;
}

/// Runs a product of a step over all units.
pub(super) trait Run<const G: usize> {
    fn product<P: Product<N, G>, const N: usize>(&mut self);
}

/// A cell whose input product has G gates.
pub(super) trait Cell<const G: usize>: Copy + Send + Sync {
    /// Runs the products of a step in order.
    fn products(run: &mut impl Run<G>);
}

/// Most cells have one product of all their gates.
impl<P: Product<G, G>, const G: usize> Cell<G> for P {
    #[inline(always)]
    fn products(run: &mut impl Run<G>) {
        run.product::<P, G>();
    }
}

#[derive(Clone, Copy)]
pub(super) struct Lstm;
#[derive(Clone, Copy)]
pub(super) struct Gru;
/// The GRU whose reset gate acts before its second product.
#[derive(Clone, Copy)]
pub(super) struct GruResetBefore;
#[derive(Clone, Copy)]
struct GruReset;
#[derive(Clone, Copy)]
struct GruNew;
#[derive(Clone, Copy)]
pub(super) struct RnnTanh;
#[derive(Clone, Copy)]
pub(super) struct RnnRelu;

impl Product<4, 4> for Lstm {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, gx: [S::f32s; 4], gh: [S::f32s; 4], old: State<S::f32s>) -> Stepped<S::f32s, 4> {
        use lstm_gate::{CELL, FORGET, INPUT, OUTPUT};
        let a = |gate: usize| simd.add_f32s(gx[gate], gh[gate]);
        let i = sigmoid(simd, a(INPUT));
        let f = sigmoid(simd, a(FORGET));
        let g = tanh(simd, a(CELL));
        let o = sigmoid(simd, a(OUTPUT));
        let c = simd.add_f32s(simd.mul_f32s(f, old.c), simd.mul_f32s(i, g));
        let state = State { h: simd.mul_f32s(o, tanh(simd, c)), c };
        Stepped { state, saved: [i, f, g, o], extra: c }
    }
}

impl Product<3, 3> for Gru {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, gx: [S::f32s; 3], gh: [S::f32s; 3], old: State<S::f32s>) -> Stepped<S::f32s, 3> {
        use gru_gate::{NEW, RESET, UPDATE};
        let r = sigmoid(simd, simd.add_f32s(gx[RESET], gh[RESET]));
        let z = sigmoid(simd, simd.add_f32s(gx[UPDATE], gh[UPDATE]));
        let n = tanh(simd, simd.add_f32s(gx[NEW], simd.mul_f32s(r, gh[NEW])));
        let kept = simd.mul_f32s(z, old.h);
        let open = simd.sub_f32s(simd.splat_f32s(1.0), z);
        let state = State { h: simd.add_f32s(simd.mul_f32s(open, n), kept), c: old.c };
        Stepped { state, saved: [r, z, n], extra: gh[NEW] }
    }
}

impl Cell<3> for GruResetBefore {
    #[inline(always)]
    fn products(run: &mut impl Run<3>) {
        run.product::<GruReset, 2>();
        run.product::<GruNew, 1>();
    }
}

/// Returns r ⊙ h as h, and z as c.
impl Product<2, 3> for GruReset {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, gx: [S::f32s; 3], gh: [S::f32s; 2], old: State<S::f32s>) -> Stepped<S::f32s, 3> {
        use gru_gate::{RESET, UPDATE};
        let r = sigmoid(simd, simd.add_f32s(gx[RESET], gh[RESET]));
        let z = sigmoid(simd, simd.add_f32s(gx[UPDATE], gh[UPDATE]));
        Stepped { state: State { h: simd.mul_f32s(r, old.h), c: z }, saved: [r, z, gx[gru_gate::NEW]], extra: z }
    }
}

impl Product<1, 3> for GruNew {
    const NUMBER: usize = 1;

    #[inline(always)]
    fn apply<S: Simd>(simd: S, gx: [S::f32s; 3], [gh]: [S::f32s; 1], old: State<S::f32s>) -> Stepped<S::f32s, 3> {
        let (n, z) = (tanh(simd, simd.add_f32s(gx[gru_gate::NEW], gh)), old.c);
        let kept = simd.mul_f32s(z, old.h);
        let open = simd.sub_f32s(simd.splat_f32s(1.0), z);
        let state = State { h: simd.add_f32s(simd.mul_f32s(open, n), kept), c: z };
        // If values are saved, the first product has left r where its gx was.
        Stepped { state, saved: [gx[gru_gate::RESET], z, n], extra: z }
    }
}

impl Product<1, 1> for RnnTanh {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, [gx]: [S::f32s; 1], [gh]: [S::f32s; 1], old: State<S::f32s>) -> Stepped<S::f32s, 1> {
        let h = tanh(simd, simd.add_f32s(gx, gh));
        Stepped { state: State { h, c: old.c }, saved: [h], extra: h }
    }
}

impl Product<1, 1> for RnnRelu {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, [gx]: [S::f32s; 1], [gh]: [S::f32s; 1], old: State<S::f32s>) -> Stepped<S::f32s, 1> {
        let h = relu(simd, simd.add_f32s(gx, gh));
        Stepped { state: State { h, c: old.c }, saved: [h], extra: h }
    }
}
