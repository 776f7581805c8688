//! What each kernel binds. Group 0 holds the buffers of a layer, group 1 the parameter blocks.

pub(crate) mod project;
pub(crate) mod step;

use crate::cell::CellKind;
use crate::plan::Kernel;

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
