//! The parameter blocks of a backward. Each (layer, chunk) has one for every slice of the input product, then one for
//! every direction, then one for every slice of the chunk's rows.

use super::{Backward, BackwardPlan, weights};
use crate::error::Result;
use crate::plan::blocks::{chunk_params, shared_params};
use crate::plan::input_product;
use crate::plan::params::{Blocks, ChunkParams};

impl Backward<'_> {
    /// Returns the number of parameter blocks of each type.
    pub(super) fn blocks(self, chunk_steps: usize) -> Blocks {
        let layers = self.config.num_layers;
        let chunks = self.task.extents.steps_to_run().div_ceil(chunk_steps.max(1));
        let rows = chunk_steps.saturating_mul(self.task.extents.batch);
        let slices = self.first_row_slice() + weights::slices(rows).count();
        Blocks { layers, chunks, slices, waves: 0, steps: chunk_steps + 1 }
    }

    /// Returns the number of the block of a direction.
    pub(super) fn direction_block(self, direction: usize) -> usize {
        input_product::slices(self.config.widest_input()) + direction
    }

    /// Returns the number of the block of the first slice of rows.
    pub(super) fn first_row_slice(self) -> usize {
        self.direction_block(self.config.directions())
    }

    /// Returns block number `block` of a layer over a chunk.
    fn params_of(self, layer: usize, first_step: usize, steps: usize, block: usize) -> ChunkParams {
        let common = chunk_params(self.config, self.task, layer, first_step, steps);
        let (directions, rows) = (self.direction_block(0), self.first_row_slice());
        if block < directions {
            let features = input_product::slice(self.config.layer_input_size(layer), block);
            return ChunkParams { k_first: features.start as u32, k_end: features.end as u32, ..common };
        }
        if block < rows {
            return ChunkParams { direction: (block - directions) as u32, ..common };
        }
        let slice = weights::slices(steps * self.task.extents.batch).nth(block - rows);
        let (first, end) = slice.unwrap_or((0, 0));
        ChunkParams { k_first: first as u32, k_end: end as u32, ..common }
    }
}

// Every value counts elements of a binding, which is smaller than 2^32 bytes on every device, so it fits u32.
impl BackwardPlan {
    /// Returns the content of the parameter buffer.
    pub(crate) fn filled_params(&self) -> Result<Vec<u8>> {
        let backward = Backward { config: &self.config, task: &self.task, choice: &self.choice };
        let (schedule, layers) = (&self.schedule, self.config.num_layers);
        let blocks = schedule.params.blocks();
        let chunks = (0..layers).flat_map(|layer| (0..blocks.chunks).map(move |chunk| (layer, chunk)));
        let chunks = chunks.flat_map(|(layer, chunk)| {
            let (first, steps) = (chunk * schedule.chunk_steps, schedule.steps_in(chunk));
            (0..blocks.slices).map(move |block| backward.params_of(layer, first, steps, block))
        });
        let shared = shared_params(&self.config, &self.task, 0);
        let waves = std::iter::empty::<std::iter::Empty<ChunkParams>>();
        // From the last step on.
        schedule.params.fill(shared, chunks, waves, (0..blocks.steps).rev())
    }
}
