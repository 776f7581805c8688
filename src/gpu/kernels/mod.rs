//! What each kernel binds. Group 0 holds the buffers of a layer, group 1 the parameter blocks.

pub(crate) mod project;
pub(crate) mod step;

use crate::Result;
use crate::cell::CellKind;
use crate::plan::Kernel;
use crate::plan::limits::check;
use crate::plan::params::ChunkParams;

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
        Kernel::Step => step::access(cell),
    }
}

/// How many parameter blocks a kernel reads, index = binding of group 1: the chunk's, and for a step its own.
pub(crate) const fn params_count(kernel: Kernel) -> usize {
    match kernel {
        Kernel::Project => 1,
        Kernel::Step => 2,
    }
}

/// Whether a device can bind what the kernels bind, whatever the shape.
pub(crate) fn check_limits(cell: CellKind, limits: &wgpu::Limits) -> Result<()> {
    for kernel in Kernel::ALL {
        let what = match kernel {
            Kernel::Project => "the input product",
            Kernel::Step => "the step kernel",
        };
        let (storage, params) = (storage_access(kernel, cell).len() as u64, params_count(kernel) as u64);
        let largest = size_of::<ChunkParams>() as u64;
        for (limit, need, available) in [
            ("max_bind_groups", 2, limits.max_bind_groups.into()),
            ("max_bindings_per_bind_group", storage, limits.max_bindings_per_bind_group.into()),
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
