//! The parameter blocks that kernels read, and their layout in one uniform buffer.
//!
//! All blocks of a plan are written before its first call; a dispatch selects its blocks by dynamic offset. Recording a
//! step therefore allocates and uploads nothing, and works where immediates do not exist (in browsers).

use crate::error::Result;
use crate::memory::zeroed;
use crate::plan::limits::{DeviceLimits, check, saturating_product};

/// The parameters shared by all layers and chunks of a call: the struct `Params` of shaders/base/params.wgsl without
/// its chunks, field by field.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct SharedParams {
    pub(crate) batch: u32,
    pub(crate) hidden_size: u32,
    pub(crate) recurrent_size: u32,
    pub(crate) directions: u32,
    pub(crate) state_rows: u32,
    pub(crate) h_size: u32,
    pub(crate) c_stride_s: u32,
    pub(crate) first_direction: u32,
}

/// The parameters of one layer over one chunk of time steps: the struct `Chunk` of shaders/base/params.wgsl, field by
/// field.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct ChunkParams {
    pub(crate) input_size: u32,
    pub(crate) first_step: u32,
    pub(crate) steps: u32,
    pub(crate) x_offset: u32,
    pub(crate) x_stride_t: u32,
    pub(crate) x_stride_b: u32,
    pub(crate) y_offset: u32,
    pub(crate) y_stride_t: u32,
    pub(crate) y_stride_b: u32,
    pub(crate) h_offset: u32,
    pub(crate) c_offset: u32,
    pub(crate) gx_offset: u32,
    pub(crate) w_offset: u32,
    pub(crate) b_offset: u32,
    pub(crate) k_first: u32,
    pub(crate) k_end: u32,
    pub(crate) dropout_key: u32,
    pub(crate) dropout_threshold: u32,
    pub(crate) dropout_scale: f32,
    pub(crate) direction: u32,
}

/// The parameters of one step: the struct `Step` of shaders/base/step.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct StepParams {
    pub(crate) index: u32,
}

/// The most chunks of a dispatch; `CHUNKS` of shaders/base/wavefront.wgsl.
pub(crate) const MAX_CHUNKS: usize = 32;

/// Returns the bytes that a dispatch over `chunks` chunks reads: the shared parameters, and those of each chunk.
pub(crate) const fn block_bytes(chunks: usize) -> usize {
    size_of::<SharedParams>() + chunks * size_of::<ChunkParams>()
}

/// The number of parameter blocks of each type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocks {
    pub(crate) layers: usize,
    pub(crate) chunks: usize,
    pub(crate) slices: usize,
    /// Blocks of several chunks each, if layers overlap.
    pub(crate) waves: usize,
    /// One block for each step of a chunk, shared by all chunks.
    pub(crate) steps: usize,
}

/// The layout of the blocks: first the chunks, layer by layer, each with its slices, then the waves, then the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParamsLayout {
    blocks: Blocks,
    stride: usize,
    wave_stride: usize,
}

impl ParamsLayout {
    pub(crate) fn new(blocks: Blocks, limits: &DeviceLimits) -> Result<Self> {
        let aligned = |bytes: usize| bytes.next_multiple_of(limits.uniform_alignment.max(4) as usize);
        let (stride, wave_stride) = (aligned(block_bytes(1)), aligned(block_bytes(blocks.layers)));
        let layout = Self { blocks, stride, wave_stride };
        // Dynamic offsets are u32, whatever the size of a buffer may be.
        let available = limits.buffer.min(u32::MAX.into());
        check("the parameter buffer", "max_buffer_size", layout.bytes(), available)?;
        Ok(layout)
    }

    pub(crate) fn blocks(&self) -> Blocks {
        self.blocks
    }

    pub(crate) fn bytes(&self) -> u64 {
        let Blocks { layers, chunks, slices, waves, steps } = self.blocks;
        let blocks = saturating_product(&[layers, chunks, slices].map(|size| size as u64));
        let blocks = blocks.saturating_add(steps as u64).saturating_mul(self.stride as u64);
        // A wave binds room for the most layers, whatever follows its own.
        let room = if waves > 0 { block_bytes(MAX_CHUNKS) as u64 } else { 0 };
        blocks.saturating_add(saturating_product(&[waves as u64, self.wave_stride as u64])).saturating_add(room)
    }

    // Offsets fit u32 because `new` rejects a larger buffer.
    pub(crate) fn chunk_offset(&self, layer: usize, chunk: usize, slice: usize) -> u32 {
        (((layer * self.blocks.chunks + chunk) * self.blocks.slices + slice) * self.stride) as u32
    }

    pub(crate) fn wave_offset(&self, wave: usize) -> u32 {
        self.chunk_offset(self.blocks.layers, 0, 0) + (wave * self.wave_stride) as u32
    }

    /// Returns the bytes from the block of one step to the next.
    pub(crate) fn step_stride(&self) -> u32 {
        self.stride as u32
    }

    pub(crate) fn step_offset(&self, step: usize) -> u32 {
        self.wave_offset(self.blocks.waves) + (step * self.stride) as u32
    }

    /// Returns the buffer's content: the chunks in order, the chunks of each wave, and the steps' indices.
    pub(crate) fn fill<W: Iterator<Item = ChunkParams>>(
        &self,
        shared: SharedParams,
        chunks: impl Iterator<Item = ChunkParams>,
        waves: impl Iterator<Item = W>,
        steps: impl Iterator<Item = usize>,
    ) -> Result<Vec<u8>> {
        let mut content = zeroed("the parameters of all chunks", &[self.bytes() as usize])?;
        let mut put = |at: u32, bytes: &[u8]| content[at as usize..][..bytes.len()].copy_from_slice(bytes);
        let chunks = chunks.enumerate().map(|(n, chunk)| ((n * self.stride) as u32, vec![chunk]));
        let waves = waves.enumerate().map(|(n, wave)| (self.wave_offset(n), wave.collect()));
        for (at, chunks) in chunks.chain(waves) {
            put(at, bytemuck::bytes_of(&shared));
            put(at + size_of::<SharedParams>() as u32, bytemuck::cast_slice(&chunks));
        }
        for (block, index) in steps.enumerate() {
            put(self.step_offset(block), bytemuck::bytes_of(&StepParams { index: index as u32 }));
        }
        Ok(content)
    }
}

/// The division of a forward's time into chunks, and the layout of its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Schedule {
    pub(super) params: ParamsLayout,
    /// The slices of the layer with the most features; others have fewer, and leave blocks unused.
    pub(super) slices: usize,
    /// T, or 0 if there are no rows.
    pub(super) time_steps: usize,
    pub(super) chunk_steps: usize,
}

impl Schedule {
    pub(super) fn chunks(&self) -> usize {
        self.time_steps.div_ceil(self.chunk_steps.max(1))
    }

    pub(super) fn steps_in(&self, chunk: usize) -> usize {
        self.chunk_steps.min(self.time_steps - chunk * self.chunk_steps)
    }
}
