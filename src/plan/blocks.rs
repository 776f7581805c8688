//! The content of the parameter blocks: the offsets in the arrays at which each dispatch reads and writes.

use std::ops::Range;

use crate::call::Task;
use crate::config::RecurrentConfig;
use crate::dropout::Dropout;
use crate::error::Result;
use crate::plan::forward::padded_output;
use crate::plan::params::{ChunkParams, SharedParams};
use crate::plan::program::Name;
use crate::plan::{F32, Plan, input_product, wavefront};

// Every value counts elements of a binding, which is smaller than 2^32 bytes on every device, so it fits u32.
impl Plan {
    /// Returns the content of the parameter buffer.
    pub(crate) fn filled_params(&self) -> Result<Vec<u8>> {
        let layers = self.config.num_layers;
        let waves = if self.choice.recurrence.is_wavefront() { self.schedule.chunks() } else { 0 };
        let waves = wavefront::waves(layers, waves).enumerate();
        let of_wave =
            |(wave, layers): (usize, Range<usize>)| layers.map(move |layer| self.params_of(layer, wave - layer, 0));
        let steps = 0..self.schedule.params.blocks().steps;
        self.schedule.params.fill(self.shared_params(), self.chunk_params(), waves.map(of_wave), steps)
    }

    /// Returns the parameters of every (layer, chunk, slice), in the order of
    /// [`ParamsLayout`](super::params::ParamsLayout).
    pub(crate) fn chunk_params(&self) -> impl Iterator<Item = ChunkParams> + '_ {
        let (chunks, slices) = (self.schedule.chunks(), self.schedule.slices);
        (0..self.config.num_layers).flat_map(move |layer| {
            (0..chunks).flat_map(move |chunk| (0..slices).map(move |slice| self.params_of(layer, chunk, slice)))
        })
    }

    fn shared_params(&self) -> SharedParams {
        // The size of one half of the array.
        shared_params(&self.config, &self.task, (self.program.bytes(Name::H) / F32 / 2) as usize)
    }

    fn params_of(&self, layer: usize, chunk: usize, slice: usize) -> ChunkParams {
        let (config, Task { extents, .. }) = (&self.config, &self.task);
        let features = input_product::slice(config.layer_input_size(layer), slice);
        // In a wave, the arrays of all layers follow one another; otherwise each layer binds its own.
        let place = |of_layer: usize| if self.choice.recurrence.is_wavefront() { (layer * of_layer) as u32 } else { 0 };
        let y_of_layer = (padded_output(self.program.bytes(Name::Output)) / F32) as usize;
        let chunk_steps = self.schedule.chunk_steps;
        ChunkParams {
            // The output of the layer below; the first layer reads the input.
            x_offset: place(y_of_layer).saturating_sub(y_of_layer as u32),
            y_offset: place(y_of_layer),
            gx_offset: place(chunk_steps * extents.batch * config.directions() * config.hidden_size),
            w_offset: place(wavefront::weights_of_layer(config)),
            b_offset: place(wavefront::biases_of_layer(config)),
            k_first: features.start as u32,
            k_end: features.end as u32,
            ..chunk_params(config, &self.task, layer, chunk * chunk_steps, self.schedule.steps_in(chunk))
        }
    }

    /// Returns the index at which the initial c of a layer begins.
    pub(crate) fn c_offset(&self, layer: usize) -> usize {
        layer * c_of_layer(&self.config, &self.task)
    }
}

/// Returns the parameters that all layers and chunks share; `h_size` is the number of elements of h of all layers.
pub(super) fn shared_params(config: &RecurrentConfig, task: &Task, h_size: usize) -> SharedParams {
    SharedParams {
        batch: task.extents.batch as u32,
        hidden_size: config.hidden_size as u32,
        recurrent_size: config.recurrent_size() as u32,
        directions: config.directions() as u32,
        state_rows: task.state_arrays.rows as u32,
        h_size: h_size as u32,
        c_stride_s: if task.all_states { c_of_step(config, task) as u32 } else { 0 },
        first_direction: u32::from(config.reverse),
    }
}

/// Returns the parameters of a layer over a chunk of time steps, if the layer binds its own arrays.
pub(super) fn chunk_params(
    config: &RecurrentConfig,
    task: &Task,
    layer: usize,
    first_step: usize,
    steps: usize,
) -> ChunkParams {
    let Task { extents, state_arrays, .. } = task;
    let (input_size, output_size) = (config.layer_input_size(layer), config.output_size());
    let (x_rows, y_rows) = extents.layer_rows(layer, config.num_layers);
    // The first layer reads the input, on which dropout does not act.
    let dropout = Dropout::new(if layer > 0 { config.dropout } else { 0.0 });
    ChunkParams {
        input_size: input_size as u32,
        first_step: first_step as u32,
        steps: steps as u32,
        x_stride_t: (x_rows.time * input_size) as u32,
        x_stride_b: (x_rows.batch * input_size) as u32,
        y_stride_t: (y_rows.time * output_size) as u32,
        y_stride_b: (y_rows.batch * output_size) as u32,
        h_offset: (layer * config.directions() * state_arrays.rows * config.recurrent_size()) as u32,
        c_offset: (layer * c_of_layer(config, task)) as u32,
        dropout_key: (task.keys_at() + 2 * layer.saturating_sub(1)) as u32,
        dropout_threshold: dropout.threshold,
        dropout_scale: dropout.scale as f32,
        ..bytemuck::Zeroable::zeroed()
    }
}

/// Returns the number of elements of c per layer and step: `[D, state_rows, H]`.
fn c_of_step(config: &RecurrentConfig, task: &Task) -> usize {
    config.directions() * task.state_arrays.rows * config.hidden_size
}

/// Returns the number of elements of c per layer.
fn c_of_layer(config: &RecurrentConfig, task: &Task) -> usize {
    let steps = if task.all_states { task.extents.time_steps + 1 } else { 1 };
    steps * c_of_step(config, task)
}
