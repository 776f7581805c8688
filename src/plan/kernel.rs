//! The kernels, and what each is for.

use std::fmt;

use crate::cell_kind::CellKind;
use crate::config::RecurrentConfig;
use crate::error::Result;
use crate::plan::limits::{BindingLimits, check};
use crate::plan::params::{MAX_CHUNKS, StepParams, block_bytes};
use crate::precision::Precision;

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

/// What identifies the sources of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sources {
    pub(crate) kernel: Kernel,
    pub(crate) cell: CellKind,
    /// The number of the product of a step, see [`CellKind::products`].
    pub(crate) product: usize,
    pub(crate) precision: Precision,
    /// Dispatches are over several layers.
    pub(crate) wave: bool,
}

/// The override constants of a kernel, in the order of their declarations; booleans are 0 and 1.
pub(crate) type Constants = Vec<(&'static str, u32)>;

/// All that the machine code of a kernel depends on: its sources, of which one function is the entry point, and its override
/// constants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PipelineKey {
    pub(crate) sources: Sources,
    pub(crate) constants: Constants,
}

/// How a kernel uses a storage buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    ReadWrite,
}

/// A kind of packed weights of a layer, both directions one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum WeightArray {
    /// `[D, H / 8, I, 8]` of G
    Ih,
    /// `[D, H / 8, P, 8]` of the gates of a product of a step
    Hh(usize),
    /// `[D, H]` of G
    BiasIh,
    /// `[D, H]` of the gates of a product of a step
    BiasHh(usize),
    /// `[D, H, P]`
    Hr,
}

/// As the shaders call them.
impl fmt::Display for WeightArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ih => "w_ih",
            Self::Hh(_) => "w_hh",
            Self::BiasIh => "b_ih",
            Self::BiasHh(_) => "b_hh",
            Self::Hr => "w_hr",
        })
    }
}

/// What a kernel binds in group 1, index = binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    /// A block of the parameters, of so many bytes, chosen by dynamic offset.
    Block(usize),
    /// What the call says, a storage buffer.
    Call,
}

impl Sources {
    /// The storage buffers, index = binding of group 0.
    pub(crate) fn storage_access(self) -> Vec<Access> {
        storage_access(self.kernel.role(), self.cell)
    }

    /// The parameters: the block of the chunk, several of them in a wave, the call, and for one step its own block.
    pub(crate) fn parameters(self) -> impl Iterator<Item = Parameter> {
        let chunks = if self.wave { MAX_CHUNKS } else { 1 };
        let step = self.kernel.is_of_one_step().then_some(Parameter::Block(size_of::<StepParams>()));
        [Parameter::Block(block_bytes(chunks)), Parameter::Call].into_iter().chain(step)
    }

    /// How many parameters are blocks.
    pub(crate) fn block_count(self) -> usize {
        if self.kernel.is_of_one_step() { 2 } else { 1 }
    }
}

/// The storage buffers of the kernels of a role, index = binding of group 0; `forward.rs` names them.
fn storage_access(role: Role, cell: CellKind) -> Vec<Access> {
    use Access::{Read, ReadWrite};
    match role {
        Role::InputProduct => vec![Read, Read, Read, ReadWrite],
        Role::Recurrence => {
            let own = usize::from(cell.products().len() > 1) + cell.states().len() - 1;
            [&[Read; 3][..], &[ReadWrite; 3], &vec![ReadWrite; own]].concat()
        }
        Role::Projection => vec![Read, Read, ReadWrite, ReadWrite, ReadWrite],
    }
}

/// Checks that a device can bind what the kernels bind, whatever the shape.
pub(crate) fn check_limits(config: &RecurrentConfig, limits: &BindingLimits) -> Result<()> {
    for &role in Role::of(config) {
        // Those of one step bind most.
        let blocks = if role == Role::InputProduct { 1 } else { 2 };
        let (bindings, call) = (storage_access(role, config.cell).len() as u64, 1);
        for (limit, need, available) in [
            ("max_bind_groups", 2, limits.bind_groups.into()),
            ("max_bindings_per_bind_group", bindings, limits.bindings_per_group.into()),
            ("max_storage_buffers_per_shader_stage", bindings + call, limits.storage_buffers.into()),
            ("max_uniform_buffers_per_shader_stage", blocks, limits.uniform_buffers.into()),
            ("max_dynamic_uniform_buffers_per_pipeline_layout", blocks, limits.dynamic_uniform_buffers.into()),
            ("max_uniform_buffer_binding_size", block_bytes(1) as u64, limits.uniform_binding),
        ] {
            check(role.name(), limit, need, available)?;
        }
    }
    Ok(())
}
