//! The limits of a device, by wgpu's names, and the checks against them.

use crate::error::{Error, Result};

/// The limits that decide whether a plan can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceLimits {
    pub(crate) storage_binding: u64,
    pub(crate) buffer: u64,
    pub(crate) groups_per_dimension: u32,
    pub(crate) workgroup_storage: u32,
    pub(crate) workgroup_invocations: u32,
    pub(crate) workgroup_size: [u32; 3],
    pub(crate) uniform_alignment: u32,
    /// The alignment of an array's offset in a caller's buffer.
    pub(crate) storage_alignment: u32,
    /// True if the adapter is software on the CPU; not a limit, but tiles depend on it.
    pub(crate) software: bool,
    pub(crate) uniform_binding: u64,
    /// True if the recurrent weights of all layers are in one buffer; a property of the placed model, not of the
    /// device.
    pub(crate) stacked_weights: bool,
    /// The most device memory that a forward may take in addition to the weights; set by the user, unlimited by
    /// default.
    pub(crate) forward_memory: u64,
    /// The most work of one submission; not one of wgpu's limits, but normally [`SUBMISSION_WORK`].
    pub(crate) submission_work: u64,
}

/// The most work of one submission. Operating systems reset a GPU whose submission runs for seconds (Windows: 2 s).
/// Work is counted in operations of a small integrated GPU that does 200 G per second: this much takes it a quarter of
/// a second. A browser draws its pages with the same GPU between submissions, so that there the limit is a twentieth of
/// a second.
pub(crate) const SUBMISSION_WORK: u64 = if cfg!(target_arch = "wasm32") { 10_000_000_000 } else { 50_000_000_000 };
/// The work of reading one byte: such a GPU reads 50 GB per second.
pub(crate) const WORK_PER_BYTE: u64 = 4;
/// The work of starting a dispatch, which takes such a GPU 5 µs.
pub(crate) const WORK_PER_DISPATCH: u64 = 1_000_000;

/// The most loop iterations of an invocation. A driver may end all loops of an invocation after 65,535 iterations in
/// total (llvmpipe does so silently); this is half of that.
pub(crate) const MAX_TURNS: usize = 32_768;

/// Returns a product, or the largest number if it overflows, which exceeds every limit.
pub(crate) fn saturating_product(factors: &[u64]) -> u64 {
    factors.iter().copied().fold(1, u64::saturating_mul)
}

/// The limits on the number of bindings of a kernel, which apply to every shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BindingLimits {
    pub(crate) bind_groups: u32,
    pub(crate) bindings_per_group: u32,
    pub(crate) storage_buffers: u32,
    pub(crate) uniform_buffers: u32,
    pub(crate) dynamic_uniform_buffers: u32,
    pub(crate) uniform_binding: u64,
}

impl DeviceLimits {
    /// Checks the size of a buffer of any use.
    pub(crate) fn buffer(&self, what: &str, bytes: u64) -> Result<()> {
        check(what, "max_buffer_size", bytes, self.buffer)
    }

    /// Checks a workgroup: its size in three dimensions, and its memory in bytes.
    pub(crate) fn workgroup(&self, what: &str, size: [u32; 3], storage: u64) -> Result<()> {
        let names = ["max_compute_workgroup_size_x", "max_compute_workgroup_size_y", "max_compute_workgroup_size_z"];
        for ((name, need), available) in names.into_iter().zip(size).zip(self.workgroup_size) {
            check(what, name, need.into(), available.into())?;
        }
        let invocations = size.iter().map(|&n| u64::from(n)).product();
        check(what, "max_compute_invocations_per_workgroup", invocations, self.workgroup_invocations.into())?;
        check(what, "max_compute_workgroup_storage_size", storage, self.workgroup_storage.into())
    }

    /// Checks a dimension of a grid.
    pub(crate) fn groups(&self, what: &str, groups: u64) -> Result<()> {
        check(what, "max_compute_workgroups_per_dimension", groups, self.groups_per_dimension.into())
    }
}

pub(crate) fn check(what: &str, limit: &'static str, need: u64, available: u64) -> Result<()> {
    if need <= available { Ok(()) } else { Err(exceeded(what, limit, need, available)) }
}

/// Returns the error for something that needs more than there is.
pub(crate) fn exceeded(what: &str, limit: &'static str, need: u64, available: u64) -> Error {
    Error::Limit { what: what.to_owned(), limit, need, available }
}
