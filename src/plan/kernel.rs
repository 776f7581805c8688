//! The kernels, and what each is for.

use crate::config::RecurrentConfig;

/// A shader of its own, with its entry point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kernel {
    InputProduct,
    InputProductFewRows,
    StepOneRow,
    StepFewRows,
    StepManyRows,
    Sequence,
    /// Of h.
    Projection,
}

/// What a kernel computes. Kernels of one role bind the same buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    InputProduct,
    Recurrence,
    /// The projection of h.
    Projection,
}

impl Kernel {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 7] = [
        Self::InputProduct,
        Self::InputProductFewRows,
        Self::StepOneRow,
        Self::StepFewRows,
        Self::StepManyRows,
        Self::Sequence,
        Self::Projection,
    ];

    pub(crate) const fn role(self) -> Role {
        match self {
            Self::InputProduct | Self::InputProductFewRows => Role::InputProduct,
            Self::StepOneRow | Self::StepFewRows | Self::StepManyRows | Self::Sequence => Role::Recurrence,
            Self::Projection => Role::Projection,
        }
    }

    /// Whether it is called once a time step, and so told which.
    pub(crate) const fn is_of_one_step(self) -> bool {
        match self.role() {
            Role::InputProduct => false,
            Role::Recurrence | Role::Projection => !matches!(self, Self::Sequence),
        }
    }
}

impl Role {
    /// The roles that a model needs.
    pub(crate) fn of(config: &RecurrentConfig) -> &'static [Self] {
        const ALL: [Role; 3] = [Role::InputProduct, Role::Recurrence, Role::Projection];
        if config.is_projected() { &ALL } else { ALL.split_at(2).0 }
    }

    /// For people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::InputProduct => "the input product",
            Self::Recurrence => "the step kernel",
            Self::Projection => "the projection of h",
        }
    }
}
