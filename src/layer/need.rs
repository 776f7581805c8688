//! The demands on the caller's own device buffers, and their checks.

use crate::error::{Error, Result};
use crate::gpu::arrays::BufferRange;
use crate::layer::buffers::DeviceArray;
use crate::plan::limits::DeviceLimits;

/// The demands on one of the caller's arrays.
pub(crate) struct Need<'a> {
    pub(super) name: &'static str,
    pub(super) array: DeviceArray<'a>,
    pub(super) bytes: u64,
    pub(super) usage: wgpu::BufferUsages,
    pub(super) alignment: u64,
}

impl<'a> Need<'a> {
    /// Returns the demands on an array that a kernel binds.
    pub(crate) fn bound(name: &'static str, array: DeviceArray<'a>, bytes: u64, limits: &DeviceLimits) -> Self {
        Self { name, array, bytes, usage: wgpu::BufferUsages::STORAGE, alignment: limits.storage_alignment.into() }
    }

    /// Returns the demands on an array that something is copied to.
    pub(crate) fn target(name: &'static str, array: DeviceArray<'a>, bytes: u64) -> Self {
        Self { name, array, bytes, usage: wgpu::BufferUsages::COPY_DST, alignment: wgpu::COPY_BUFFER_ALIGNMENT }
    }

    /// Returns true if both begin at the same place.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        self.array.buffer == other.array.buffer && self.array.offset == other.array.offset
    }

    /// Returns the range that is needed.
    pub(crate) fn range(&self) -> BufferRange {
        self.array.range(self.bytes)
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        // A whole buffer stands for one array, however little of it is needed.
        self.is_at(other) || self.array.overlaps(self.bytes, &other.array, other.bytes)
    }

    pub(crate) fn overlap(&self, other: &Self) -> Error {
        let expected = format!("a range apart from {}'s", other.name);
        let place = |need: &Self| format!("bytes {}..{}", need.array.offset, need.array.offset + need.bytes);
        let got = format!("{} and {} of one buffer", place(self), place(other));
        Error::Buffer { name: self.name, expected, got }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let error = |expected, got| Err(Error::Buffer { name: self.name, expected, got });
        let Self { array: DeviceArray { buffer, offset, .. }, bytes, usage, alignment, .. } = self;
        let there = self.array.bytes();
        if there < *bytes {
            return error(format!("at least {bytes} bytes"), format!("{there} bytes"));
        }
        if offset % alignment != 0 {
            return error(format!("an offset that is a multiple of {alignment}"), format!("{offset}"));
        }
        if !buffer.usage().contains(*usage) {
            return error(format!("usages {usage:?}"), format!("{:?}", buffer.usage()));
        }
        Ok(())
    }
}
