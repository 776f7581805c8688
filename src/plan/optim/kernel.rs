//! The kernels of optimisers, shaders/optim/.

use crate::plan::kernel::Access;

/// A kernel of an optimiser's step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OptimKernel {
    /// The sums of the squares of a gradient.
    SumSquares,
    /// The norm of all gradients.
    Norm,
    Sgd,
    /// Adam and AdamW.
    Adam,
    /// The sum of two gradients.
    Add,
}

impl OptimKernel {
    pub(crate) const ALL: [Self; 5] = [Self::SumSquares, Self::Norm, Self::Sgd, Self::Adam, Self::Add];

    /// Returns the number of arrays that a rule keeps for each parameter.
    pub(crate) const fn moments(self) -> usize {
        match self {
            Self::Sgd => 1,
            Self::Adam => 2,
            Self::SumSquares | Self::Norm | Self::Add => 0,
        }
    }

    /// Returns the name for people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::SumSquares | Self::Norm => "the norm of the gradients",
            Self::Sgd | Self::Adam => "the optimiser's step",
            Self::Add => "the sum of gradients",
        }
    }

    /// Returns the name of the kernel's entry point.
    pub(crate) const fn entry_point(self) -> &'static str {
        match self {
            Self::SumSquares => "sum_squares",
            Self::Norm => "norm",
            Self::Sgd => "sgd",
            Self::Adam => "adam",
            Self::Add => "add",
        }
    }

    /// Returns the access to each storage buffer; the index is the binding in group 0.
    pub(crate) fn storage_access(self) -> Vec<Access> {
        use Access::{Read, ReadWrite};
        match self {
            Self::SumSquares | Self::Norm => vec![Read, ReadWrite],
            Self::Sgd => vec![ReadWrite, ReadWrite, Read, ReadWrite],
            Self::Adam => vec![ReadWrite, ReadWrite, Read, ReadWrite, ReadWrite],
            Self::Add => vec![ReadWrite, Read],
        }
    }
}
