//! What a device can hold, by wgpu's names, and the checks against it.

use crate::{Error, Result};

/// The limits that decide whether a plan can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceLimits {
    pub(crate) storage_binding: u64,
    pub(crate) buffer: u64,
    pub(crate) groups_per_dimension: u32,
    pub(crate) workgroup_storage: u32,
    pub(crate) workgroup_invocations: u32,
    pub(crate) workgroup_size: [u32; 3],
    pub(crate) storage_buffers: u32,
    pub(crate) uniform_alignment: u32,
    /// The most arithmetic of one submission; not wgpu's, but [`SUBMISSION_FLOPS`] on every device.
    pub(crate) submission_flops: u64,
}

/// Operating systems reset a GPU whose submission runs for seconds (Windows: 2 s). This much takes a quarter of a second at
/// 200 GFLOP/s, which a small integrated GPU reaches.
pub(crate) const SUBMISSION_FLOPS: u64 = 50_000_000_000;

/// A size in bytes and what needs it.
pub(crate) struct Need {
    pub(crate) what: &'static str,
    pub(crate) bytes: u64,
}

impl Need {
    /// A product of sizes; one that overflows is larger than any limit.
    pub(crate) fn product(what: &'static str, factors: &[u64]) -> Self {
        let bytes = factors.iter().fold(1_u64, |n, &f| n.saturating_mul(f));
        Self { what, bytes }
    }
}

impl DeviceLimits {
    /// A buffer that a kernel reads or writes.
    pub(crate) fn storage_binding(&self, need: &Need) -> Result<()> {
        check(need.what, "max_storage_buffer_binding_size", need.bytes, self.storage_binding)?;
        self.buffer(need.what, need.bytes)
    }

    /// A buffer of any use.
    pub(crate) fn buffer(&self, what: &str, bytes: u64) -> Result<()> {
        check(what, "max_buffer_size", bytes, self.buffer)
    }

    /// A grid.
    pub(crate) fn groups(&self, what: &str, groups: u64) -> Result<()> {
        check(what, "max_compute_workgroups_per_dimension", groups, self.groups_per_dimension.into())
    }
}

pub(crate) fn check(what: &str, limit: &'static str, need: u64, available: u64) -> Result<()> {
    if need <= available {
        return Ok(());
    }
    Err(Error::Limit { what: what.to_owned(), limit, need, available })
}
