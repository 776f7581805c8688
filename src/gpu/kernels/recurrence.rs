//! The bindings of the kernels of the recurrence, shaders/step/recurrence.wgsl.

use super::Access::{self, Read, ReadWrite};
use crate::cell_kind::CellKind;

/// gx, w_hh, b_hh, h, y, h_out, and one for each state that the cell carries beside h (declared in the cell's file).
pub(crate) fn access(cell: CellKind) -> Vec<Access> {
    let mut access = vec![Read, Read, Read, ReadWrite, ReadWrite, ReadWrite];
    access.resize(access.len() + cell.states().len() - 1, ReadWrite);
    access
}

/// The buffers by role; shapes are in the shader.
pub(crate) struct Buffers<'a> {
    pub(crate) gx: wgpu::BufferBinding<'a>,
    pub(crate) w_hh: wgpu::BufferBinding<'a>,
    pub(crate) b_hh: wgpu::BufferBinding<'a>,
    pub(crate) h: wgpu::BufferBinding<'a>,
    pub(crate) y: wgpu::BufferBinding<'a>,
    /// h_n; before a projection, raw
    pub(crate) h_out: wgpu::BufferBinding<'a>,
    /// c of an LSTM, updated in place
    pub(crate) carried: Vec<wgpu::BufferBinding<'a>>,
}

impl<'a> Buffers<'a> {
    /// In the order of the bindings.
    pub(crate) fn in_order(self) -> Vec<wgpu::BufferBinding<'a>> {
        let mut buffers = vec![self.gx, self.w_hh, self.b_hh, self.h, self.y, self.h_out];
        buffers.extend(self.carried);
        buffers
    }
}
