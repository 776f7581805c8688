//! The parameter blocks that kernels read, and where they lie in one uniform buffer.
//!
//! All blocks of a plan are written before its first call; a dispatch picks its blocks by dynamic offset. So
//! recording a step allocates and uploads nothing, and works where immediates do not exist (the browser).

use crate::Result;
use crate::plan::limits::{DeviceLimits, check, saturating_product};

/// One layer over one chunk of time steps: the struct `Chunk` of shaders/common.wgsl, field by field.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct ChunkParams {
    pub(crate) batch: u32,
    pub(crate) input_size: u32,
    pub(crate) hidden_size: u32,
    pub(crate) recurrent_size: u32,
    pub(crate) directions: u32,
    pub(crate) state_rows: u32,
    pub(crate) first_step: u32,
    pub(crate) steps: u32,
    pub(crate) x_stride_t: u32,
    pub(crate) x_stride_b: u32,
    pub(crate) y_stride_t: u32,
    pub(crate) y_stride_b: u32,
    pub(crate) h_offset: u32,
    pub(crate) h_size: u32,
    pub(crate) c_offset: u32,
    pub(crate) c_stride_s: u32,
    pub(crate) k_first: u32,
    pub(crate) k_end: u32,
    pub(crate) dropout_key: u32,
    pub(crate) dropout_threshold: u32,
    pub(crate) dropout_scale: f32,
}

/// The struct `Step` of shaders/common.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct StepParams {
    pub(crate) index: u32,
}

/// Where blocks lie: first the chunks, layer by layer, each with its slices, then one block for each step of a chunk, shared by all chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParamsLayout {
    stride: usize,
    layers: usize,
    chunks: usize,
    slices: usize,
    steps: usize,
}

impl ParamsLayout {
    pub(crate) fn new(
        layers: usize,
        chunks: usize,
        slices: usize,
        steps: usize,
        limits: &DeviceLimits,
    ) -> Result<Self> {
        let stride = size_of::<ChunkParams>().next_multiple_of(limits.uniform_alignment.max(4) as usize);
        let layout = Self { stride, layers, chunks, slices, steps };
        // Dynamic offsets are u32, whatever the size of a buffer may be.
        let available = limits.buffer.min(u32::MAX.into());
        check("the parameters of all chunks", "max_buffer_size", layout.bytes(), available)?;
        Ok(layout)
    }

    pub(crate) fn bytes(&self) -> u64 {
        let blocks = saturating_product(&[self.layers, self.chunks, self.slices].map(|size| size as u64));
        blocks.saturating_add(self.steps as u64).saturating_mul(self.stride as u64)
    }

    // Offsets fit u32 because `new` refuses a larger buffer.
    pub(crate) fn chunk_offset(&self, layer: usize, chunk: usize, slice: usize) -> u32 {
        (((layer * self.chunks + chunk) * self.slices + slice) * self.stride) as u32
    }

    pub(crate) fn step_offset(&self, step: usize) -> u32 {
        ((self.layers * self.chunks * self.slices + step) * self.stride) as u32
    }

    /// The buffer's content.
    pub(crate) fn fill(&self, chunks: impl Iterator<Item = ChunkParams>) -> Vec<u8> {
        let mut content = vec![0; self.bytes() as usize];
        let steps = (0..self.steps).map(|index| StepParams { index: index as u32 });
        let (of_chunks, of_steps) = content.split_at_mut(self.layers * self.chunks * self.slices * self.stride);
        for (block, params) in of_chunks.chunks_exact_mut(self.stride).zip(chunks) {
            block[..size_of::<ChunkParams>()].copy_from_slice(bytemuck::bytes_of(&params));
        }
        for (block, params) in of_steps.chunks_exact_mut(self.stride).zip(steps) {
            block[..size_of::<StepParams>()].copy_from_slice(bytemuck::bytes_of(&params));
        }
        content
    }
}
