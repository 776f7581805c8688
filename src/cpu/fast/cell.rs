//! The pointwise cells over vectors of units; equations and sources are in shaders/cell/*.wgsl.

use pulp::Simd;

use super::activation::{relu, sigmoid, tanh};
use crate::cell_kind::{gru_gate, lstm_gate};

/// The state that a vector of units carries from step to step; a cell without c leaves c unchanged.
pub(super) struct State<V> {
    pub(super) h: V,
    pub(super) c: V,
}

/// A cell of G gates.
pub(super) trait Cell<const G: usize>: Copy + Send + Sync {
    /// Returns the new state, given the pre-activations and the old state.
    fn step<S: Simd>(simd: S, gx: [S::f32s; G], gh: [S::f32s; G], old: State<S::f32s>) -> State<S::f32s>;
}

#[derive(Clone, Copy)]
pub(super) struct Lstm;
#[derive(Clone, Copy)]
pub(super) struct Gru;
#[derive(Clone, Copy)]
pub(super) struct RnnTanh;
#[derive(Clone, Copy)]
pub(super) struct RnnRelu;

impl Cell<4> for Lstm {
    #[inline(always)]
    fn step<S: Simd>(simd: S, gx: [S::f32s; 4], gh: [S::f32s; 4], old: State<S::f32s>) -> State<S::f32s> {
        use lstm_gate::{CELL, FORGET, INPUT, OUTPUT};
        let a = |gate: usize| simd.add_f32s(gx[gate], gh[gate]);
        let i = sigmoid(simd, a(INPUT));
        let f = sigmoid(simd, a(FORGET));
        let g = tanh(simd, a(CELL));
        let o = sigmoid(simd, a(OUTPUT));
        let c = simd.add_f32s(simd.mul_f32s(f, old.c), simd.mul_f32s(i, g));
        State { h: simd.mul_f32s(o, tanh(simd, c)), c }
    }
}

impl Cell<3> for Gru {
    #[inline(always)]
    fn step<S: Simd>(simd: S, gx: [S::f32s; 3], gh: [S::f32s; 3], old: State<S::f32s>) -> State<S::f32s> {
        use gru_gate::{NEW, RESET, UPDATE};
        let r = sigmoid(simd, simd.add_f32s(gx[RESET], gh[RESET]));
        let z = sigmoid(simd, simd.add_f32s(gx[UPDATE], gh[UPDATE]));
        let n = tanh(simd, simd.add_f32s(gx[NEW], simd.mul_f32s(r, gh[NEW])));
        let kept = simd.mul_f32s(z, old.h);
        let open = simd.sub_f32s(simd.splat_f32s(1.0), z);
        State { h: simd.add_f32s(simd.mul_f32s(open, n), kept), c: old.c }
    }
}

impl Cell<1> for RnnTanh {
    #[inline(always)]
    fn step<S: Simd>(simd: S, [gx]: [S::f32s; 1], [gh]: [S::f32s; 1], old: State<S::f32s>) -> State<S::f32s> {
        State { h: tanh(simd, simd.add_f32s(gx, gh)), c: old.c }
    }
}

impl Cell<1> for RnnRelu {
    #[inline(always)]
    fn step<S: Simd>(simd: S, [gx]: [S::f32s; 1], [gh]: [S::f32s; 1], old: State<S::f32s>) -> State<S::f32s> {
        State { h: relu(simd, simd.add_f32s(gx, gh)), c: old.c }
    }
}
