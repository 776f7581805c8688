//! What a forward will do on a GPU, decided before any GPU work: pure data, no wgpu type, testable without a device.
//!
//! ```text
//! for each layer
//!   for each chunk of time steps          so that gx stays within its budget
//!     project (for each slice of k)       gx of the whole chunk, both directions
//!     step, step, …                       one dispatch a time step, both directions; with a projection,
//!                                         shrink after each
//!     or sequence                         one dispatch for all of them
//! ```
//!
//! or, where layers overlap,
//!
//! ```text
//! for each wave
//!   project                               for each layer that is at work, its chunk
//!   step, step, …                         one dispatch a time step, all these layers
//! ```

pub(crate) mod bytes;
pub(crate) mod dispatch;
mod explain;
pub(crate) mod kernel;
pub(crate) mod limits;
pub(crate) mod octets;
pub(crate) mod params;
pub(crate) mod project;
pub(crate) mod quads;
pub(crate) mod sequence;
pub(crate) mod shrink;
pub(crate) mod step;
pub(crate) mod strategy;
pub(crate) mod wave;

use std::ops::Range;

use crate::call::Task;
use crate::config::RecurrentConfig;
use crate::dropout::Dropout;
use crate::plan::bytes::BufferBytes;
use crate::plan::limits::{DeviceLimits, check, saturating_product};
use crate::plan::params::{Blocks, ChunkParams, ParamsLayout, SharedParams};
use crate::plan::strategy::{Choice, Recurrence};
use crate::strategy::Strategy;
use crate::{Error, Result};

/// The most that a chunk's gx may take. It is written and read once per step, so there is no gain in more than keeps
/// a GPU busy; long sequences would otherwise take memory in proportion to T.
pub(crate) const GX_BUDGET: u64 = 64 << 20;

/// The most steps of a chunk: bounds the table of step parameters, a block of up to 256 bytes each.
const MAX_CHUNK_STEPS: usize = 4096;

const F32: u64 = size_of::<f32>() as u64;

/// What a forward of one shape does on a GPU: its dispatches, submissions and device memory.
///
/// [`Placed::plan`](crate::Placed::plan) gives it. Its [`Display`](std::fmt::Display) is for people: a line, and with `{:#}` what was
/// chosen and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub(crate) config: RecurrentConfig,
    pub(crate) task: Task,
    pub(crate) choice: Choice,
    pub(crate) bytes: BufferBytes,
    pub(crate) params: ParamsLayout,
    /// Of the layer with the most features; others have fewer, and leave blocks unused.
    slices: usize,
    /// T, but 0 without rows.
    time_steps: usize,
    chunk_steps: usize,
    submission_work: u64,
}

impl Plan {
    /// Chooses strategy, tiles and chunks, and checks every limit.
    pub(crate) fn new(config: &RecurrentConfig, task: Task, limits: &DeviceLimits) -> Result<Self> {
        let choice = strategy::choose(config, &task, limits)?;
        match Self::of_choice(config, task, choice, limits) {
            // Overlapping layers takes more memory. What was not asked for must not be why a forward cannot run.
            Err(Error::Limit { .. }) if task.strategy == Strategy::Auto && choice.recurrence.is_wave() => {
                let steps = strategy::choose(config, &Task { strategy: Strategy::Step, ..task }, limits)?;
                let why = "layers that overlap take more memory than there may be";
                Self::of_choice(config, task, Choice { why, ..steps }, limits)
            }
            plan => plan,
        }
    }

    fn of_choice(config: &RecurrentConfig, task: Task, choice: Choice, limits: &DeviceLimits) -> Result<Self> {
        let Task { extents, .. } = task;
        choice.input_product.check(config, extents.batch as u64, limits)?;
        if let Recurrence::Steps(tile) | Recurrence::Wavefront(tile) = choice.recurrence {
            tile.check(config, extents.batch, limits)?;
        }
        if config.is_projected() {
            shrink::check(config, extents.batch, limits)?;
        }
        // Without rows there is no step to run, however many there are.
        let time_steps = if extents.is_empty() { 0 } else { extents.time_steps };
        let gx_of_step = bytes::gx_of_step(config, extents.batch, choice.recurrence.is_wave(), limits)?;
        let mut bytes = BufferBytes::of_task(config, &task, choice.recurrence.is_wave(), limits)?;
        let chunk_steps = chunk_steps(config, extents.batch, choice, time_steps, gx_of_step, limits);
        let slices = project::slices(config.widest_input());
        let params = ParamsLayout::new(blocks(config, choice, slices, time_steps, chunk_steps), limits)?;
        (bytes.gx, bytes.params) = (gx_of_step * chunk_steps as u64, params.bytes());
        let submission_work = limits.submission_work;
        let config = config.clone();
        let plan = Self { config, task, choice, bytes, params, slices, time_steps, chunk_steps, submission_work };
        plan.within(limits, gx_of_step)
    }

    /// The same with fewer steps at a time, as many as fit the memory that the forward may take. Fewer steps take a smaller gx and
    /// fewer blocks of steps, but more chunks more blocks of chunks.
    fn within(mut self, limits: &DeviceLimits, gx_of_step: u64) -> Result<Self> {
        let mut least = self.device_bytes();
        while self.device_bytes() > limits.forward_memory {
            // One chunk more, each as short as that makes them.
            let shorter = self.time_steps.div_ceil(self.chunks() + 1).min(self.chunk_steps.saturating_sub(1));
            let blocks = blocks(&self.config, self.choice, self.slices, self.time_steps, shorter);
            let (1.., Ok(params)) = (shorter, ParamsLayout::new(blocks, limits)) else {
                check("a forward", "the bytes that set_memory_limit allows", least, limits.forward_memory)?;
                break;
            };
            self.chunk_steps = shorter;
            self.params = params;
            self.bytes.params = self.params.bytes();
            self.bytes.gx = gx_of_step * self.chunk_steps as u64;
            least = least.min(self.device_bytes());
        }
        Ok(self)
    }

    fn chunks(&self) -> usize {
        self.time_steps.div_ceil(self.chunk_steps.max(1))
    }

    fn steps_in(&self, chunk: usize) -> usize {
        self.chunk_steps.min(self.time_steps - chunk * self.chunk_steps)
    }

    /// The content of the parameter buffer.
    pub(crate) fn filled_params(&self) -> Vec<u8> {
        let layers = self.config.num_layers;
        let waves = if self.choice.recurrence.is_wave() { self.chunks() } else { 0 };
        let waves = wave::waves(layers, waves).enumerate();
        let of_wave =
            |(wave, layers): (usize, Range<usize>)| layers.map(move |layer| self.params_of(layer, wave - layer, 0));
        self.params.fill(self.shared_params(), self.chunk_params(), waves.map(of_wave))
    }

    /// The parameters of every (layer, chunk, slice), in the order of [`ParamsLayout`].
    pub(crate) fn chunk_params(&self) -> impl Iterator<Item = ChunkParams> + '_ {
        (0..self.config.num_layers).flat_map(move |layer| {
            (0..self.chunks())
                .flat_map(move |chunk| (0..self.slices).map(move |slice| self.params_of(layer, chunk, slice)))
        })
    }

    // Every value counts elements of a binding, whose size is less than 2^32 bytes on every device, so it fits u32.

    fn shared_params(&self) -> SharedParams {
        let (config, Task { extents, state_arrays, .. }) = (&self.config, &self.task);
        SharedParams {
            batch: extents.batch as u32,
            hidden_size: config.hidden_size as u32,
            recurrent_size: config.recurrent_size() as u32,
            directions: config.directions() as u32,
            state_rows: state_arrays.rows as u32,
            h_size: (self.bytes.h / F32) as u32,
            c_stride_s: if self.task.all_states { self.c_of_step() as u32 } else { 0 },
            unused: 0,
        }
    }

    fn params_of(&self, layer: usize, chunk: usize, slice: usize) -> ChunkParams {
        let (config, Task { extents, state_arrays, .. }) = (&self.config, &self.task);
        let input_size = config.layer_input_size(layer);
        let output_size = config.output_size();
        let (x_rows, y_rows) = extents.layer_rows(layer, config.num_layers);
        let features = project::slice(input_size, slice);
        // The first layer reads the input, which dropout leaves alone.
        let dropout = Dropout::new(if layer > 0 { config.dropout } else { 0.0 });
        // In a wave the arrays of all layers lie behind each other; else each layer binds its own.
        let place = |of_layer: usize| if self.choice.recurrence.is_wave() { (layer * of_layer) as u32 } else { 0 };
        let y_of_layer = (bytes::padded_output(self.bytes.output) / F32) as usize;
        ChunkParams {
            input_size: input_size as u32,
            first_step: (chunk * self.chunk_steps) as u32,
            steps: self.steps_in(chunk) as u32,
            // What the layer below has left; the first layer reads the input.
            x_offset: place(y_of_layer).saturating_sub(y_of_layer as u32),
            x_stride_t: (x_rows.time * input_size) as u32,
            x_stride_b: (x_rows.batch * input_size) as u32,
            y_offset: place(y_of_layer),
            y_stride_t: (y_rows.time * output_size) as u32,
            y_stride_b: (y_rows.batch * output_size) as u32,
            h_offset: (layer * config.directions() * state_arrays.rows * config.recurrent_size()) as u32,
            c_offset: self.c_offset(layer) as u32,
            gx_offset: place(self.chunk_steps * extents.batch * config.directions() * config.hidden_size),
            w_offset: place(wave::weights_of_layer(config)),
            b_offset: place(wave::biases_of_layer(config)),
            k_first: features.start as u32,
            k_end: features.end as u32,
            dropout_key: (self.task.keys_at() + 2 * layer.saturating_sub(1)) as u32,
            dropout_threshold: dropout.threshold,
            dropout_scale: dropout.scale as f32,
            unused: 0,
        }
    }

    /// Elements of c of one layer and step: `[D, state_rows, H]`.
    fn c_of_step(&self) -> usize {
        self.config.directions() * self.task.state_arrays.rows * self.config.hidden_size
    }

    /// Where the initial c of a layer lies.
    pub(crate) fn c_offset(&self, layer: usize) -> usize {
        let steps = if self.task.all_states { self.task.extents.time_steps + 1 } else { 1 };
        layer * steps * self.c_of_step()
    }

    /// Where the output of a layer lies among those of all layers, in bytes, if they are in one buffer.
    pub(crate) fn stacked_output(&self, layer: usize) -> Option<u64> {
        self.choice.recurrence.is_wave().then(|| layer as u64 * bytes::padded_output(self.bytes.output))
    }

    /// How many buffers the outputs between two layers take in turn; where all of them are wanted, each has its own.
    pub(crate) fn between_count(&self) -> usize {
        let all = self.config.num_layers - 1;
        if self.choice.recurrence.is_wave() {
            // Theirs and the output of the last in one.
            return 1;
        }
        if self.task.all_states { all } else { all.min(2) }
    }

    /// The strategy, which was chosen or asked for; never [`Strategy::Auto`].
    pub fn strategy(&self) -> Strategy {
        self.choice.recurrence.strategy()
    }

    /// The floating-point operations of the matrix products, a multiply-add counted as two.
    pub fn flops(&self) -> u64 {
        let (config, rows) = (&self.config, self.task.extents.rows());
        let of_layer = |layer| {
            let input = product_flops(config, rows, config.layer_input_size(layer));
            let projection = [2, rows, config.directions(), config.hidden_size, config.proj_size];
            let projection = saturating_product(&projection.map(|n| n as u64));
            let recurrent = product_flops(config, rows, config.recurrent_size());
            input.saturating_add(recurrent).saturating_add(projection)
        };
        (0..config.num_layers).map(of_layer).fold(0, u64::saturating_add)
    }

    /// Whether a device can hold what is read back, in one buffer.
    pub(crate) fn check_readback(&self, limits: &DeviceLimits) -> Result<()> {
        limits.buffer("the readback of output and states", self.readback_bytes(&self.bytes))
    }

    /// Output, unless nobody asks for it, and last states, and where the states of every step are wanted the outputs between the layers: what is read back.
    pub(crate) fn readback_bytes(&self, bytes: &BufferBytes) -> u64 {
        let below = if self.task.all_states { self.config.num_layers - 1 } else { 0 };
        let outputs = u64::from(self.task.reads_output) + below as u64;
        bytes.output * outputs + bytes.states(&self.config).sum::<u64>()
    }

    /// The bytes of device memory that a forward with host input and output takes besides the weights.
    pub fn device_bytes(&self) -> u64 {
        self.device_bytes_in(&self.bytes)
    }

    /// The same in buffers of other sizes.
    pub(crate) fn device_bytes_in(&self, b: &BufferBytes) -> u64 {
        let between = b.between * self.between_count() as u64;
        // h before and after a step have a buffer of their own.
        let states = 2 * b.h + b.states(&self.config).sum::<u64>();
        b.input + b.output + states + b.gx + between + b.raw + b.params + b.call + self.readback_bytes(b)
    }
}

/// Units whose weights lie side by side; `BLOCK` of shaders/common.wgsl.
pub(crate) const WEIGHT_BLOCK: usize = 8;

/// How many steps a chunk has, but for what the memory of the forward asks.
fn chunk_steps(
    config: &RecurrentConfig,
    batch: usize,
    choice: Choice,
    time_steps: usize,
    gx_of_step: u64,
    limits: &DeviceLimits,
) -> usize {
    let by_budget = (GX_BUDGET.min(limits.storage_binding) / gx_of_step.max(1)).max(1);
    let by_groups = (choice.input_product.max_rows(limits) / (batch as u64).max(1)).max(1);
    // The product of a chunk is one dispatch, which no submission can cut; so is a sequence.
    let slice = config.widest_input().min(project::MAX_FEATURES);
    let (of_sequence, by_turns) = match choice.recurrence {
        Recurrence::Steps(_) | Recurrence::Wavefront(_) => (0, MAX_CHUNK_STEPS),
        Recurrence::Sequence(tile) => (choice.recurrence.step_work(config, batch), tile.max_steps(config.hidden_size)),
    };
    let of_step = product_flops(config, batch, slice).max(of_sequence);
    let by_work = (limits.submission_work / of_step.max(1)).max(1);
    let most = by_budget.min(by_groups).min(by_work).min(MAX_CHUNK_STEPS.min(by_turns) as u64);
    let wave = choice.recurrence.is_wave();
    let wanted = if wave { wave::chunk_steps(time_steps, config.num_layers) } else { time_steps };
    wanted.min(most as usize)
}

/// The parameter blocks of a forward.
fn blocks(config: &RecurrentConfig, choice: Choice, slices: usize, time_steps: usize, chunk_steps: usize) -> Blocks {
    let (layers, chunks) = (config.num_layers, time_steps.div_ceil(chunk_steps.max(1)));
    let (waves, steps) = match choice.recurrence {
        Recurrence::Steps(_) => (0, chunk_steps),
        Recurrence::Sequence(_) => (0, 0),
        Recurrence::Wavefront(_) => (wave::waves(layers, chunks).count(), chunk_steps),
    };
    Blocks { layers, chunks, slices, waves, steps }
}

/// Of a product of `rows` rows of `features` with the weights of all gates, units and directions.
fn product_flops(config: &RecurrentConfig, rows: usize, features: usize) -> u64 {
    let factors = [2, rows as u64, features as u64, config.directions() as u64, config.gate_rows() as u64];
    saturating_product(&factors)
}

#[cfg(test)]
mod tests;
