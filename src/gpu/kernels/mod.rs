//! What each kernel binds. Group 0 holds the buffers of a layer, group 1 the parameter blocks.

pub(crate) mod input_product;
pub(crate) mod projection;
pub(crate) mod recurrence;

use crate::Result;
use crate::cell_kind::CellKind;
use crate::config::RecurrentConfig;
use crate::plan::kernel::{Kernel, Role};
use crate::plan::limits::check;
use crate::plan::params::{self, StepParams};

/// How a kernel uses a storage buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    ReadWrite,
}

/// The storage buffers of the kernels of a role, index = binding of group 0.
pub(crate) fn storage_access(role: Role, cell: CellKind) -> Vec<Access> {
    match role {
        Role::InputProduct => input_product::ACCESS.to_vec(),
        Role::Recurrence => recurrence::access(cell),
        Role::Projection => projection::ACCESS.to_vec(),
    }
}

/// What a kernel binds in group 1, index = binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    /// A block of the parameter buffer, of so many bytes, chosen by dynamic offset.
    Block(usize),
    /// What the call says, a storage buffer.
    Call,
}

/// The parameters of a kernel: the block of its chunks, several in a wave, the call, and for one step its own block.
pub(crate) fn parameters(kernel: Kernel, wave: bool) -> impl Iterator<Item = Parameter> {
    let chunks = if wave { params::MAX_CHUNKS } else { 1 };
    let step = kernel.is_of_one_step().then_some(Parameter::Block(size_of::<StepParams>()));
    [Parameter::Block(params::block_bytes(chunks)), Parameter::Call].into_iter().chain(step)
}

/// How many parameters of a kernel are blocks.
pub(crate) const fn block_count(kernel: Kernel) -> usize {
    if kernel.is_of_one_step() { 2 } else { 1 }
}

/// Whether a device can bind what the kernels bind, whatever the shape.
pub(crate) fn check_limits(config: &RecurrentConfig, limits: &wgpu::Limits) -> Result<()> {
    for &role in Role::of(config) {
        let what = role.name();
        // Those of one step bind most.
        let params = if role == Role::InputProduct { 1 } else { 2 };
        let (bindings, call) = (storage_access(role, config.cell).len() as u64, 1);
        let storage = bindings + call;
        let largest = params::block_bytes(1) as u64;
        for (limit, need, available) in [
            ("max_bind_groups", 2, limits.max_bind_groups.into()),
            ("max_bindings_per_bind_group", bindings, limits.max_bindings_per_bind_group.into()),
            ("max_storage_buffers_per_shader_stage", storage, limits.max_storage_buffers_per_shader_stage.into()),
            ("max_uniform_buffers_per_shader_stage", params, limits.max_uniform_buffers_per_shader_stage.into()),
            (
                "max_dynamic_uniform_buffers_per_pipeline_layout",
                params,
                limits.max_dynamic_uniform_buffers_per_pipeline_layout.into(),
            ),
            ("max_uniform_buffer_binding_size", largest, limits.max_uniform_buffer_binding_size),
        ] {
            check(what, limit, need, available)?;
        }
    }
    Ok(())
}
