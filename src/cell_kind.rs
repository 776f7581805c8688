//! The table of cells, which the engine takes gates and states from. ARCHITECTURE.md says what else a cell needs.

use crate::config::Nonlinearity;

/// Which recurrence a layer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CellKind {
    Lstm,
    Gru,
    Rnn(Nonlinearity),
}

impl CellKind {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 4] =
        [Self::Lstm, Self::Gru, Self::Rnn(Nonlinearity::Tanh), Self::Rnn(Nonlinearity::Relu)];

    /// PyTorch's name of the layer without `nn.`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Lstm => "LSTM",
            Self::Gru => "GRU",
            Self::Rnn(_) => "RNN",
        }
    }

    /// G: how many gate pre-activations a unit has, which is the rows of a weight divided by H.
    pub(crate) const fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
            Self::Rnn(_) => 1,
        }
    }

    /// Floats that the gates of one unit take in workgroup memory, where WGSL lays out three like four.
    pub(crate) const fn workgroup_floats(self) -> usize {
        match self {
            Self::Lstm | Self::Gru => 4,
            Self::Rnn(_) => 1,
        }
    }

    /// The cell of the layer whose weights have `gates`·H rows, with its article; an RNN's nonlinearity does not show.
    pub(crate) const fn of_gates(gates: usize) -> Option<(Self, &'static str)> {
        match gates {
            4 => Some((Self::Lstm, "an LSTM")),
            3 => Some((Self::Gru, "a GRU")),
            1 => Some((Self::Rnn(Nonlinearity::Tanh), "an RNN")),
            _ => None,
        }
    }

    /// The arrays that the cell carries from step to step, h first.
    pub(crate) const fn states(self) -> &'static [StateName] {
        match self {
            Self::Lstm => &[StateName { initial: "h_0", last: "h_n" }, StateName { initial: "c_0", last: "c_n" }],
            Self::Gru | Self::Rnn(_) => &[StateName { initial: "h_0", last: "h_n" }],
        }
    }
}

/// How PyTorch calls a state before and after a forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateName {
    pub(crate) initial: &'static str,
    pub(crate) last: &'static str,
}

/// Where a gate stands in the canonical order of a GRU, which is PyTorch's: r, z, n.
pub(crate) mod gru_gate {
    pub(crate) const RESET: usize = 0;
    pub(crate) const UPDATE: usize = 1;
    pub(crate) const NEW: usize = 2;
}

/// Where a gate stands in the canonical order of an LSTM, which is PyTorch's: i, f, g, o.
pub(crate) mod lstm_gate {
    pub(crate) const INPUT: usize = 0;
    pub(crate) const FORGET: usize = 1;
    pub(crate) const CELL: usize = 2;
    pub(crate) const OUTPUT: usize = 3;
}

/// Most gates of any cell: the size of a unit's stack arrays on the CPU.
pub(crate) const MAX_GATES: usize = 4;
