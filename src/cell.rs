//! The table of cells. Adding a cell is a row here, its WGSL file, its CPU function, and its gate orders.

/// Which recurrence a layer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CellKind {
    Lstm,
}

impl CellKind {
    /// PyTorch's name of the layer without `nn.`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Lstm => "LSTM",
        }
    }

    /// G: how many gate pre-activations a unit has, which is the rows of a weight divided by H.
    pub(crate) const fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
        }
    }

    /// The arrays that the cell carries from step to step, h first.
    pub(crate) const fn states(self) -> &'static [StateName] {
        match self {
            Self::Lstm => &[StateName { initial: "h_0", last: "h_n" }, StateName { initial: "c_0", last: "c_n" }],
        }
    }
}

/// How PyTorch calls a state before and after a forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateName {
    pub(crate) initial: &'static str,
    pub(crate) last: &'static str,
}

/// Where a gate stands in the canonical order, which is PyTorch's: i, f, g, o.
pub(crate) mod lstm_gate {
    pub(crate) const INPUT: usize = 0;
    pub(crate) const FORGET: usize = 1;
    pub(crate) const CELL: usize = 2;
    pub(crate) const OUTPUT: usize = 3;
}

/// Most gates of any cell: the size of a unit's stack arrays on the CPU.
pub(crate) const MAX_GATES: usize = 4;
