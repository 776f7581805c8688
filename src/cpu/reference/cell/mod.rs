//! The pointwise cells, a file each. The GPU twins are shaders/cell/*.wgsl.

mod gru;
mod lstm;
mod rnn;

pub(crate) use gru::reset;

use crate::cell_kind::{CellKind, MAX_GATES};
use crate::real::Real;

/// What one unit carries from step to step; a cell without c leaves it alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct State<F> {
    pub(crate) h: F,
    pub(crate) c: F,
}

/// The new state of one unit from its gate pre-activations and its old state.
pub(crate) fn cell<F: Real>(kind: CellKind, gx: [F; MAX_GATES], gh: [F; MAX_GATES], old: State<F>) -> State<F> {
    match kind {
        CellKind::Lstm => lstm::lstm(gx, gh, old),
        CellKind::Gru => gru::gru(gx, gh, old),
        CellKind::GruResetBefore => gru::gru_reset_before(gx, gh, old),
        CellKind::Rnn(nonlinearity) => rnn::rnn(nonlinearity, gx, gh, old),
    }
}
