//! The parameter blocks of a step's slots, and their layout in one uniform buffer.

use crate::error::Result;
use crate::memory::zeroed;
use crate::plan::limits::DeviceLimits;

/// The parameters of a slot: the struct `Slot` of shaders/optim/slot.wgsl, field by field.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct SlotParams {
    pub(crate) elements: u32,
    pub(crate) first: u32,
    pub(crate) first_square: u32,
    pub(crate) clip_value: f32,
    pub(crate) clip_norm: f32,
    pub(crate) rate: f32,
    pub(crate) decay: f32,
    pub(crate) kept: f32,
    pub(crate) first_rate: f32,
    pub(crate) first_share: f32,
    pub(crate) second_rate: f32,
    pub(crate) second_share: f32,
    pub(crate) of_gradient: f32,
    pub(crate) of_first: f32,
    pub(crate) correction: f32,
    pub(crate) eps: f32,
}

impl Default for SlotParams {
    /// Returns those of a slot without limits and rule.
    fn default() -> Self {
        Self { clip_value: f32::MAX, clip_norm: f32::MAX, ..bytemuck::Zeroable::zeroed() }
    }
}

/// Returns the bytes from one block to the next.
fn stride(limits: &DeviceLimits) -> usize {
    size_of::<SlotParams>().next_multiple_of(limits.uniform_alignment.max(4) as usize)
}

/// Returns the offset of a block.
pub(super) fn offset(block: usize, limits: &DeviceLimits) -> u32 {
    (block * stride(limits)) as u32
}

/// Returns the size of a number of blocks in bytes.
pub(super) fn bytes(blocks: usize, limits: &DeviceLimits) -> u64 {
    (blocks * stride(limits)) as u64
}

/// Returns the content of the buffer.
pub(super) fn fill(blocks: &[SlotParams], limits: &DeviceLimits) -> Result<Vec<u8>> {
    let mut content = zeroed("the parameters of a step", &[bytes(blocks.len(), limits) as usize])?;
    for (block, to) in blocks.iter().zip(content.chunks_exact_mut(stride(limits))) {
        to[..size_of::<SlotParams>()].copy_from_slice(bytemuck::bytes_of(block));
    }
    Ok(content)
}
