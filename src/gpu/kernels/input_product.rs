//! The bindings of shaders/input_product/bindings.wgsl.

use super::Access::{self, Read, ReadWrite};

/// x, w_ih, b_ih, gx.
pub(crate) const ACCESS: [Access; 4] = [Read, Read, Read, ReadWrite];

/// The buffers by role; shapes are in the shader.
pub(crate) struct Buffers<'a> {
    pub(crate) x: wgpu::BufferBinding<'a>,
    pub(crate) w_ih: wgpu::BufferBinding<'a>,
    pub(crate) b_ih: wgpu::BufferBinding<'a>,
    pub(crate) gx: wgpu::BufferBinding<'a>,
}

impl<'a> Buffers<'a> {
    /// In the order of the bindings.
    pub(crate) fn in_order(self) -> Vec<wgpu::BufferBinding<'a>> {
        vec![self.x, self.w_ih, self.b_ih, self.gx]
    }
}
