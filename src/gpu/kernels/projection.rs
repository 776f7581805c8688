//! The bindings of shaders/step/projection.wgsl.

use super::Access::{self, Read, ReadWrite};

/// raw, w_hr, h, y, h_out.
pub(crate) const ACCESS: [Access; 5] = [Read, Read, ReadWrite, ReadWrite, ReadWrite];

/// The buffers by role; shapes are in the shader.
pub(crate) struct Buffers<'a> {
    pub(crate) raw: wgpu::BufferBinding<'a>,
    pub(crate) w_hr: wgpu::BufferBinding<'a>,
    pub(crate) h: wgpu::BufferBinding<'a>,
    pub(crate) y: wgpu::BufferBinding<'a>,
    /// h_n
    pub(crate) h_out: wgpu::BufferBinding<'a>,
}

impl<'a> Buffers<'a> {
    /// In the order of the bindings.
    pub(crate) fn in_order(self) -> Vec<wgpu::BufferBinding<'a>> {
        vec![self.raw, self.w_hr, self.h, self.y, self.h_out]
    }
}
