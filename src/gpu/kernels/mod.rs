//! What each kernel binds. Group 0 holds the buffers of a layer, group 1 the parameter blocks.

pub(crate) mod project;
pub(crate) mod recurrence;
pub(crate) mod shrink;

use crate::Result;
use crate::cell_kind::CellKind;
use crate::config::RecurrentConfig;
use crate::plan::dispatch::Kernel;
use crate::plan::limits::check;
use crate::plan::params::{ChunkParams, StepParams};

/// How a kernel uses a storage buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    ReadWrite,
}

/// The storage buffers of a kernel, index = binding of group 0.
pub(crate) fn storage_access(kernel: Kernel, cell: CellKind) -> Vec<Access> {
    match kernel {
        Kernel::Project => project::ACCESS.to_vec(),
        Kernel::Step | Kernel::StepRow | Kernel::Sequence => recurrence::access(cell),
        Kernel::Shrink => shrink::ACCESS.to_vec(),
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

/// The parameters of a kernel: the chunk's block, the call, and for one step its own block.
pub(crate) const fn parameters(kernel: Kernel) -> &'static [Parameter] {
    const ALL: [Parameter; 3] =
        [Parameter::Block(size_of::<ChunkParams>()), Parameter::Call, Parameter::Block(size_of::<StepParams>())];
    match kernel {
        Kernel::Project | Kernel::Sequence => ALL.split_at(2).0,
        Kernel::Step | Kernel::StepRow | Kernel::Shrink => &ALL,
    }
}

/// How many parameters of a kernel are blocks.
pub(crate) const fn block_count(kernel: Kernel) -> usize {
    match kernel {
        Kernel::Project | Kernel::Sequence => 1,
        Kernel::Step | Kernel::StepRow | Kernel::Shrink => 2,
    }
}

/// Whether a device can bind what the kernels bind, whatever the shape.
pub(crate) fn check_limits(config: &RecurrentConfig, limits: &wgpu::Limits) -> Result<()> {
    for &kernel in Kernel::of(config) {
        let what = match kernel {
            Kernel::Project => "the input product",
            Kernel::Step | Kernel::StepRow => "the step kernel",
            Kernel::Sequence => "the sequence kernel",
            Kernel::Shrink => "the projection of h",
        };
        let (bindings, params) = (storage_access(kernel, config.cell).len() as u64, block_count(kernel) as u64);
        let storage = bindings + parameters(kernel).len() as u64 - params;
        let largest = size_of::<ChunkParams>() as u64;
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
