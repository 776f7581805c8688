//! The kernels and their roles.

use std::fmt;

use crate::cell_kind::CellKind;
use crate::config::RecurrentConfig;
use crate::error::Result;
use crate::plan::backward::kernel::BackwardKernel;
use crate::plan::limits::{BindingLimits, check};
use crate::plan::optim::kernel::OptimKernel;
use crate::plan::optim::params::SlotParams;
use crate::plan::params::{MAX_CHUNKS, StepParams, block_bytes};
use crate::precision::Precision;

/// A kernel, which has its own shader with an entry point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kernel {
    InputProduct,
    InputProductFewRows,
    StepOneRow,
    StepFewRows,
    StepManyRows,
    Sequence,
    /// The projection of h.
    Projection,
    Backward(BackwardKernel),
    Optim(OptimKernel),
}

/// The function of a kernel. Kernels of one role bind the same buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    InputProduct,
    Recurrence,
    /// The projection of h.
    Projection,
    /// Every kernel of the backward binds buffers of its own.
    Backward(BackwardKernel),
    /// And so does every kernel of an optimiser.
    Optim(OptimKernel),
}

impl Kernel {
    /// The kernels of the forward.
    #[cfg(test)]
    pub(crate) const FORWARD: [Self; 7] = [
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
            Self::Backward(kernel) => Role::Backward(kernel),
            Self::Optim(kernel) => Role::Optim(kernel),
        }
    }

    /// Returns true if the kernel is dispatched once per time step, and therefore reads which one.
    pub(crate) const fn is_of_one_step(self) -> bool {
        match self.role() {
            Role::InputProduct | Role::Optim(_) => false,
            Role::Recurrence | Role::Projection => !matches!(self, Self::Sequence),
            Role::Backward(kernel) => kernel.is_of_one_step(),
        }
    }
}

impl Role {
    /// Returns the roles that a forward needs.
    pub(crate) fn of(config: &RecurrentConfig) -> &'static [Self] {
        const ALL: [Role; 3] = [Role::InputProduct, Role::Recurrence, Role::Projection];
        if config.is_projected() { &ALL } else { ALL.split_at(2).0 }
    }

    /// Returns the name for people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::InputProduct => "the input product",
            Self::Recurrence => "the step kernel",
            Self::Projection => "the projection of h",
            Self::Backward(kernel) => kernel.name(),
            Self::Optim(kernel) => kernel.name(),
        }
    }
}

/// The key that identifies the sources of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sources {
    pub(crate) kernel: Kernel,
    pub(crate) cell: CellKind,
    /// The index of the product of a step, see [`CellKind::products`].
    pub(crate) product: usize,
    pub(crate) precision: Precision,
    /// True if dispatches span several layers.
    pub(crate) wavefront: bool,
    /// True for the cell with the options of ONNX, which constants select.
    pub(crate) general: bool,
}

/// The override constants of a kernel, in the order of their declarations; booleans are 0 and 1.
pub(crate) type Constants = Vec<(&'static str, u32)>;

/// The key that determines the machine code of a kernel: its sources, of which one function is the entry point, and its
/// override constants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PipelineKey {
    pub(crate) sources: Sources,
    pub(crate) constants: Constants,
}

/// The access of a kernel to a storage buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    ReadWrite,
}

/// A type of packed weights of a layer, the directions one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum WeightArray {
    /// `[D, H / 8, I, 8]` of G.
    Ih,
    /// `[D, H / 8, P, 8]` of the gates of a product of a step.
    Hh(usize),
    /// `[D, H]` of G.
    BiasIh,
    /// `[D, H]` of the gates of a product of a step.
    BiasHh(usize),
    /// `[D, H, P]`.
    Hr,
}

/// Writes the name that the shaders use.
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

/// An entry of bind group 1; its index is the binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    /// A block of the parameters with this many bytes, selected by dynamic offset.
    Block(usize),
    /// The parameters of the call, in a storage buffer.
    Call,
}

impl Sources {
    /// Returns the access to each storage buffer; the index is the binding in group 0.
    pub(crate) fn storage_access(self) -> Vec<Access> {
        storage_access(self.kernel.role(), self.cell)
    }

    /// Returns the parameters: the block of the chunk, or of several chunks in a wave, the call and, for a kernel of
    /// one step, the step's block. The kernels of optimisers have the block of a slot.
    pub(crate) fn parameters(self) -> impl Iterator<Item = Parameter> {
        let chunks = if self.wavefront { MAX_CHUNKS } else { 1 };
        let is_optim = matches!(self.kernel, Kernel::Optim(_));
        let first = if is_optim { size_of::<SlotParams>() } else { block_bytes(chunks) };
        let step = self.kernel.is_of_one_step().then_some(Parameter::Block(size_of::<StepParams>()));
        [Parameter::Block(first)].into_iter().chain((!is_optim).then_some(Parameter::Call)).chain(step)
    }

    /// Returns the number of parameters that are blocks.
    pub(crate) fn block_count(self) -> usize {
        if self.kernel.is_of_one_step() { 2 } else { 1 }
    }
}

/// Returns the access to each storage buffer of the kernels of a role; the index is the binding in group 0. The writers
/// of programs name the buffers.
fn storage_access(role: Role, cell: CellKind) -> Vec<Access> {
    use Access::{Read, ReadWrite};
    match role {
        Role::InputProduct => vec![Read, Read, Read, ReadWrite],
        Role::Recurrence => {
            let own = usize::from(cell.products().len() > 1) + cell.states().len() - 1;
            [&[Read; 3][..], &[ReadWrite; 3], &vec![ReadWrite; own]].concat()
        }
        Role::Projection => vec![Read, Read, ReadWrite, ReadWrite, ReadWrite],
        Role::Backward(kernel) => kernel.storage_access(cell),
        Role::Optim(kernel) => kernel.storage_access(),
    }
}

/// Checks that a device can bind what the kernels of some roles bind, for any shape.
pub(crate) fn check_limits(
    cell: CellKind,
    roles: impl IntoIterator<Item = Role>,
    limits: &BindingLimits,
) -> Result<()> {
    for role in roles {
        // The kernels of one step bind the most.
        let blocks = if matches!(role, Role::InputProduct | Role::Optim(_)) { 1 } else { 2 };
        let bindings = storage_access(role, cell).len() as u64;
        let call = u64::from(!matches!(role, Role::Optim(_)));
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
