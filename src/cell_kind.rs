//! The description of a cell: everything that the engine needs to know about one. ARCHITECTURE.md lists the other files
//! that a cell needs.

#![allow(clippy::single_range_in_vec_init, reason = "most cells have one product, of all gates")]

use std::ops::Range;

/// The nonlinearity of an [`Rnn`](crate::Rnn): `nonlinearity` of `torch.nn.RNN`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Nonlinearity {
    /// The hyperbolic tangent, PyTorch's default.
    #[default]
    Tanh,
    /// max(0, x).
    Relu,
}

/// Writes PyTorch's name: "tanh" or "relu".
impl std::fmt::Display for Nonlinearity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tanh => "tanh",
            Self::Relu => "relu",
        })
    }
}

/// The recurrence that a layer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CellKind {
    Lstm,
    Gru,
    /// The GRU whose reset gate acts on h before the recurrent product, as in Cho et al. 2014.
    GruResetBefore,
    Rnn(Nonlinearity),
}

/// The description of a cell.
#[derive(Debug)]
struct Description {
    /// PyTorch's name of the layer without `nn.`.
    name: &'static str,
    /// The name with its article.
    one: &'static str,
    /// G: the number of gate pre-activations of a unit, which is the number of rows of a weight divided by H.
    gates: usize,
    /// The recurrent products of a step in order, each as the range of gates that it yields. The first multiplies h;
    /// the second multiplies the first product's result.
    products: &'static [Range<usize>],
    /// The arrays that the cell carries from step to step, h first.
    states: &'static [StateName],
    /// True if a projection of h may follow a step (Sak et al. 2014).
    projects: bool,
    /// The number of values of a unit that a step saves for the backward. `cpu/reference/cell/` lists them.
    saved: usize,
}

const H: StateName = StateName { initial: "h_0", last: "h_n" };
const C: StateName = StateName { initial: "c_0", last: "c_n" };

const LSTM: Description = Description {
    name: "LSTM",
    one: "an LSTM",
    gates: 4,
    products: &[0..4],
    states: &[H, C],
    projects: true,
    saved: 4,
};
const GRU: Description =
    Description { name: "GRU", one: "a GRU", gates: 3, products: &[0..3], states: &[H], projects: false, saved: 4 };
const GRU_RESET_BEFORE: Description = Description { products: &[0..2, 2..3], saved: 3, ..GRU };
const RNN: Description =
    Description { name: "RNN", one: "an RNN", gates: 1, products: &[0..1], states: &[H], projects: false, saved: 1 };

impl CellKind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Lstm, Self::Gru, Self::GruResetBefore, Self::Rnn(Nonlinearity::Tanh), Self::Rnn(Nonlinearity::Relu)];

    const fn description(self) -> &'static Description {
        match self {
            Self::Lstm => &LSTM,
            Self::Gru => &GRU,
            Self::GruResetBefore => &GRU_RESET_BEFORE,
            Self::Rnn(_) => &RNN,
        }
    }

    /// Returns PyTorch's name of the layer without `nn.`.
    pub(crate) const fn name(self) -> &'static str {
        self.description().name
    }

    /// Returns G: the number of gate pre-activations of a unit, which is the number of rows of a weight divided by H.
    pub(crate) const fn gates(self) -> usize {
        self.description().gates
    }

    /// Returns the recurrent products of a step in order, each as the range of gates that it yields.
    pub(crate) const fn products(self) -> &'static [Range<usize>] {
        self.description().products
    }

    /// Returns the number of floats that the gates of one unit take in workgroup memory, where WGSL lays out three like
    /// four.
    pub(crate) const fn workgroup_floats(self) -> usize {
        self.gates().next_power_of_two()
    }

    /// Returns the cell of a layer whose weights have `gates`·H rows, and its name with an article. Properties that
    /// weights do not show have PyTorch's defaults.
    pub(crate) fn of_gates(gates: usize) -> Option<(Self, &'static str)> {
        let all = [Self::Lstm, Self::Gru, Self::Rnn(Nonlinearity::Tanh)];
        all.into_iter().find(|cell| cell.gates() == gates).map(|cell| (cell, cell.description().one))
    }

    /// Returns true if a projection of h may follow a step.
    pub(crate) const fn projects(self) -> bool {
        self.description().projects
    }

    /// Returns the number of values of a unit that a step saves for the backward; at most [`MAX_GATES`].
    pub(crate) const fn saved(self) -> usize {
        self.description().saved
    }

    /// Returns the arrays that the cell carries from step to step, h first.
    pub(crate) const fn states(self) -> &'static [StateName] {
        self.description().states
    }

    // The arguments that select among the cells of one kind, which weights do not record.

    /// Returns `nonlinearity` of PyTorch's RNN; `None` for a cell without the argument.
    pub(crate) const fn nonlinearity(self) -> Option<Nonlinearity> {
        match self {
            Self::Rnn(nonlinearity) => Some(nonlinearity),
            _ => None,
        }
    }

    /// Returns the cell with another nonlinearity; a cell without the argument stays the same.
    pub(crate) const fn with_nonlinearity(self, nonlinearity: Nonlinearity) -> Self {
        match self {
            Self::Rnn(_) => Self::Rnn(nonlinearity),
            other => other,
        }
    }

    /// Returns `reset_after` of Keras's GRU; `None` for a cell without the argument.
    pub(crate) const fn reset_after(self) -> Option<bool> {
        match self {
            Self::Gru => Some(true),
            Self::GruResetBefore => Some(false),
            _ => None,
        }
    }

    /// Returns the cell with its reset gate after or before the recurrent product; a cell without the argument stays
    /// the same.
    pub(crate) const fn with_reset_after(self, reset_after: bool) -> Self {
        match self {
            Self::Gru | Self::GruResetBefore if reset_after => Self::Gru,
            Self::Gru | Self::GruResetBefore => Self::GruResetBefore,
            other => other,
        }
    }
}

/// PyTorch's names of a state before and after a forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateName {
    pub(crate) initial: &'static str,
    pub(crate) last: &'static str,
}

/// The index of each gate in the canonical order of a GRU, which is PyTorch's: r, z, n.
pub(crate) mod gru_gate {
    pub(crate) const RESET: usize = 0;
    pub(crate) const UPDATE: usize = 1;
    pub(crate) const NEW: usize = 2;
}

/// The index of each gate in the canonical order of an LSTM, which is PyTorch's: i, f, g, o.
pub(crate) mod lstm_gate {
    pub(crate) const INPUT: usize = 0;
    pub(crate) const FORGET: usize = 1;
    pub(crate) const CELL: usize = 2;
    pub(crate) const OUTPUT: usize = 3;
}

/// The most gates of any cell, and the most values that a step saves: the size of a unit's arrays on the stack on the
/// CPU.
pub(crate) const MAX_GATES: usize = 4;
