//! The kernels of the backward, shaders/backward/.

use crate::cell_kind::CellKind;
use crate::config::RecurrentConfig;
use crate::plan::kernel::Access;

/// A kernel of the backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BackwardKernel {
    /// The gates of all steps of a chunk; one dispatch for each product of a step.
    Recompute,
    Step,
    /// A step whose h was projected, up to the projection.
    StepProjected,
    /// The second product of a step, for a cell that has two.
    Reset,
    /// The projection of h, and the cell.
    Projection,
    /// The gradients of W_ih and b_ih.
    InputWeights,
    /// The gradients of W_hh and b_hh; one dispatch for each product of a step.
    RecurrentWeights,
    /// The gradient of W_hr.
    ProjectionWeights,
    /// The sum of the parts of a gradient of weights.
    SumParts,
    InputGradient,
}

impl BackwardKernel {
    pub(crate) const ALL: [Self; 10] = [
        Self::Recompute,
        Self::Step,
        Self::StepProjected,
        Self::Reset,
        Self::Projection,
        Self::InputWeights,
        Self::RecurrentWeights,
        Self::ProjectionWeights,
        Self::SumParts,
        Self::InputGradient,
    ];

    /// Returns the kernels that a model needs.
    pub(crate) fn of(config: &RecurrentConfig) -> Vec<Self> {
        let mut kernels = vec![Self::InputWeights, Self::RecurrentWeights, Self::SumParts, Self::InputGradient];
        if Self::recomputes(config.cell) {
            kernels.push(Self::Recompute);
        }
        match config.is_projected() {
            true => kernels.extend([Self::StepProjected, Self::Projection, Self::ProjectionWeights]),
            false => kernels.push(Self::Step),
        }
        if config.cell.products().len() > 1 {
            kernels.push(Self::Reset);
        }
        kernels
    }

    /// Returns true if the backward of a cell needs its gates. That of an RNN gets by with h.
    pub(crate) const fn recomputes(cell: CellKind) -> bool {
        !matches!(cell, CellKind::Rnn(_))
    }

    /// Returns true if the kernel exists for a cell.
    pub(crate) fn is_of(self, cell: CellKind) -> bool {
        match self {
            Self::Recompute => Self::recomputes(cell),
            Self::StepProjected | Self::Projection | Self::ProjectionWeights => cell.projects(),
            Self::Reset => cell.products().len() > 1,
            Self::Step | Self::InputWeights | Self::RecurrentWeights | Self::SumParts | Self::InputGradient => true,
        }
    }

    /// Returns true if the kernel is dispatched once per time step, and therefore reads which one.
    pub(crate) const fn is_of_one_step(self) -> bool {
        matches!(self, Self::Step | Self::StepProjected | Self::Reset | Self::Projection)
    }

    /// Returns the number of products of a step for each of which the kernel has a dispatch.
    pub(crate) fn products(self, cell: CellKind) -> usize {
        match self {
            Self::Recompute | Self::RecurrentWeights => cell.products().len(),
            _ => 1,
        }
    }

    /// Returns the name for people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Recompute => "the recomputation of the gates",
            Self::Step | Self::StepProjected => "the backward step kernel",
            Self::Reset => "the second product of a backward step",
            Self::Projection => "the backward of the projection",
            Self::InputWeights => "the gradient of the input weights",
            Self::RecurrentWeights => "the gradient of the recurrent weights",
            Self::ProjectionWeights => "the gradient of the projection's weights",
            Self::SumParts => "the sum of the parts of a gradient",
            Self::InputGradient => "the gradient of the input",
        }
    }

    /// Returns the name of the kernel's entry point.
    pub(crate) const fn entry_point(self) -> &'static str {
        match self {
            Self::Recompute => "tiled_product",
            Self::Step | Self::StepProjected => "backward_step",
            Self::Reset => "backward_reset",
            Self::Projection => "backward_projection",
            Self::InputWeights | Self::RecurrentWeights | Self::ProjectionWeights => "weight_gradient",
            Self::SumParts => "sum_parts",
            Self::InputGradient => "input_gradient",
        }
    }

    /// Returns the access to each storage buffer; the index is the binding in group 0.
    pub(crate) fn storage_access(self, cell: CellKind) -> Vec<Access> {
        use Access::{Read, ReadWrite};
        match self {
            Self::Recompute => vec![Read, Read, Read, Read, Read, ReadWrite],
            Self::Step => {
                let of_cell: &[Access] = match cell {
                    CellKind::Lstm => &[ReadWrite, Read],
                    CellKind::Gru | CellKind::GruResetBefore => &[Read, Read],
                    CellKind::Rnn(_) => &[Read],
                };
                [&[ReadWrite, Read, Read, ReadWrite], of_cell].concat()
            }
            Self::StepProjected => vec![ReadWrite, Read, Read, ReadWrite, ReadWrite],
            Self::Reset => vec![ReadWrite, Read, ReadWrite, Read, Read],
            Self::Projection => vec![ReadWrite, Read, Read, ReadWrite, ReadWrite, Read],
            Self::InputWeights | Self::ProjectionWeights => vec![Read, ReadWrite, Read],
            Self::RecurrentWeights => vec![Read, ReadWrite, Read, Read],
            Self::SumParts => vec![ReadWrite],
            Self::InputGradient => vec![Read, Read, ReadWrite],
        }
    }
}
