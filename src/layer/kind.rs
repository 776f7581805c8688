//! The kinds of recurrent layers, as types: the differences between them that show in function signatures.

use crate::cell_kind::{CellKind, Nonlinearity};
use crate::error::{Error, Result};
use crate::real::Real;
use crate::tensor::Tensor;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::LstmKind {}
    impl Sealed for super::GruKind {}
    impl Sealed for super::RnnKind {}
}

/// A kind of recurrent layer: [`LstmKind`], [`GruKind`] or [`RnnKind`]. Sealed, because only these have kernels.
pub trait Kind: sealed::Sealed + Clone + std::fmt::Debug + PartialEq + Send + Sync + 'static {
    /// The state between two calls: `(h, c)` as [`LstmState`] for an LSTM, h as a [`Tensor`] for the others. Its shape
    /// is `[L·D, B, H]` for a layer, or `[L·D, H]` unbatched; `[B, H]` for a cell, or `[H]` unbatched; `[L, H]` for one
    /// stream; and `[L·D, T, B, H]` after every step.
    type State<F: Real>: Clone + std::fmt::Debug + PartialEq + Send + Sync + 'static;

    /// The cell that a layer of this kind has before any option is set.
    #[doc(hidden)]
    const CELL: KindCell;

    /// The number of arrays of a state: h, and c of an LSTM.
    const STATES: usize = Self::CELL.0.states().len();

    /// Returns the arrays of a state, h first.
    #[doc(hidden)]
    fn arrays<F: Real>(state: &Self::State<F>) -> Vec<&Tensor<F>>;

    /// Builds a state from its arrays.
    #[doc(hidden)]
    fn state<F: Real>(arrays: Vec<Tensor<F>>) -> Result<Self::State<F>>;
}

/// The crate's internal name of a cell; opaque to other crates.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct KindCell(pub(crate) CellKind);

/// `torch.nn.LSTM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LstmKind {}

/// `torch.nn.GRU`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GruKind {}

/// `torch.nn.RNN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RnnKind {}

/// The state of an LSTM between two calls: `(h, c)` of PyTorch.
#[derive(Clone, Debug, PartialEq)]
pub struct LstmState<F = f32> {
    /// The hidden state: `[L·D, B, P]` for a layer, or `[L·D, P]` unbatched; the index is layer·D + direction. P is H
    /// without a projection.
    pub h: Tensor<F>,
    /// The cell state: `[L·D, B, H]` for a layer, or `[L·D, H]` unbatched.
    pub c: Tensor<F>,
}

impl Kind for LstmKind {
    type State<F: Real> = LstmState<F>;

    const CELL: KindCell = KindCell(CellKind::Lstm);

    fn arrays<F: Real>(state: &LstmState<F>) -> Vec<&Tensor<F>> {
        vec![&state.h, &state.c]
    }

    fn state<F: Real>(arrays: Vec<Tensor<F>>) -> Result<LstmState<F>> {
        let [h, c] = exactly(arrays)?;
        Ok(LstmState { h, c })
    }
}

impl Kind for GruKind {
    type State<F: Real> = Tensor<F>;

    const CELL: KindCell = KindCell(CellKind::Gru);

    fn arrays<F: Real>(state: &Tensor<F>) -> Vec<&Tensor<F>> {
        vec![state]
    }

    fn state<F: Real>(arrays: Vec<Tensor<F>>) -> Result<Tensor<F>> {
        exactly(arrays).map(|[h]| h)
    }
}

impl Kind for RnnKind {
    type State<F: Real> = Tensor<F>;

    const CELL: KindCell = KindCell(CellKind::Rnn(Nonlinearity::Tanh));

    fn arrays<F: Real>(state: &Tensor<F>) -> Vec<&Tensor<F>> {
        vec![state]
    }

    fn state<F: Real>(arrays: Vec<Tensor<F>>) -> Result<Tensor<F>> {
        exactly(arrays).map(|[h]| h)
    }
}

/// Converts the arrays to an array of known length. The engine returns as many as the cell's table lists; a table that
/// disagrees with the kind shows here.
fn exactly<F, const N: usize>(arrays: Vec<Tensor<F>>) -> Result<[Tensor<F>; N]> {
    let shape = |got: usize| Error::Shape { what: "states".to_owned(), expected: format!("[{N}]"), got: vec![got] };
    arrays.try_into().map_err(|arrays: Vec<_>| shape(arrays.len()))
}
