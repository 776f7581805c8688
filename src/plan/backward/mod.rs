//! Writes the program of a backward, which follows a forward that has kept the states of every step.
//!
//! ```text
//! for each layer, from the last
//!   for each chunk of time steps, from the last     so that gates stay within their budget
//!     input product, recomputation                  the gates of the whole chunk, unless h is enough
//!     step, step, …                                 one dispatch per time step from the last, and one more for what
//!                                                   arrives before the first; with a projection or a second product,
//!                                                   two per step
//!     gradients of the weights                      over all rows of the chunk, added to those of later chunks
//!     gradient of the input                         one dispatch per direction
//! ```
//!
//! Gates are always recomputed, so that gradients have the same bits whatever the memory: it takes two products over
//! all rows, which keep a whole GPU busy, while most of the time goes into the steps, which do not.

mod arrays;
mod blocks;
pub(crate) mod kernel;
pub(crate) mod shipped;
pub(crate) mod transposed;
pub(crate) mod weights;
mod write;

use std::fmt;

use crate::call::Task;
use crate::config::RecurrentConfig;
use crate::error::{Error, Result};
use crate::plan::backward::kernel::BackwardKernel;
use crate::plan::backward::transposed::TransposedTile;
use crate::plan::backward::weights::WeightGradient;
use crate::plan::count::{Bytes, Count};
use crate::plan::input_product::InputProductTile;
use crate::plan::kernel::{Constants, Kernel, Role};
use crate::plan::limits::{DeviceLimits, exceeded};
use crate::plan::params::Schedule;
use crate::plan::program::{self, Program};
use crate::plan::{Plan, input_product};
use crate::precision::Precision;
use crate::strategy::Strategy;

/// The plan of a training pass of one shape on a GPU: a forward that keeps the states of every step, and its backward.
///
/// [`Placed::plan_training`](crate::Placed::plan_training) returns it. The [`Display`](fmt::Display) form is for
/// people, on one line.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingPlan {
    pub(crate) forward: Plan,
    pub(crate) backward: BackwardPlan,
}

/// The plan of a backward.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BackwardPlan {
    config: RecurrentConfig,
    /// That of the forward.
    task: Task,
    choice: BackwardChoice,
    pub(crate) program: Program,
    schedule: Schedule,
    submission_work: u64,
}

/// The kernels of a backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BackwardChoice {
    input_product: InputProductTile,
    step: TransposedTile,
    /// The tile of products over the rows of a chunk.
    chunk: TransposedTile,
    /// True on a software adapter.
    software: bool,
}

impl BackwardChoice {
    /// Returns the constants that a kernel is specialized for.
    fn constants(&self, kernel: Kernel, parts: usize, dropout: bool) -> Constants {
        let with_dropout = |of_tile: Constants| [vec![("DROPOUT", u32::from(dropout))], of_tile].concat();
        let parts = vec![("PARTS", parts as u32)];
        let Kernel::Backward(kernel) = kernel else { return with_dropout(self.input_product.overrides()) };
        match kernel {
            BackwardKernel::Step | BackwardKernel::StepProjected | BackwardKernel::Reset => self.step.overrides(),
            BackwardKernel::InputGradient => with_dropout(self.chunk.overrides()),
            BackwardKernel::InputWeights => with_dropout(parts),
            BackwardKernel::RecurrentWeights | BackwardKernel::ProjectionWeights | BackwardKernel::SumParts => parts,
            BackwardKernel::Recompute | BackwardKernel::Projection => Vec::new(),
        }
    }
}

/// The inputs that a program is written from.
#[derive(Clone, Copy)]
struct Backward<'a> {
    config: &'a RecurrentConfig,
    task: &'a Task,
    choice: &'a BackwardChoice,
}

impl<'a> Backward<'a> {
    /// Returns the gradients of the weights of a layer.
    fn weights_of(self, layer: usize) -> Vec<WeightGradient> {
        WeightGradient::of_layer(self.config, layer, self.choice.software)
    }

    /// Returns the gradients of the weights of all layers, in the order of the results.
    fn weight_gradients(self) -> impl Iterator<Item = (usize, WeightGradient)> + use<'a> {
        let layers = 0..self.config.num_layers;
        layers.flat_map(move |layer| self.weights_of(layer).into_iter().map(move |gradient| (layer, gradient)))
    }
}

impl TrainingPlan {
    /// Plans both, so that a backward cannot fail for a reason that was known before the forward. The results of the
    /// task are those of a training pass.
    pub(crate) fn new(config: &RecurrentConfig, task: Task, limits: &DeviceLimits) -> Result<Self> {
        // Layers that overlap share an array of outputs, and save time only where a step takes little; steps give the
        // same bits.
        let strategy = match task.strategy {
            Strategy::Sequence => Strategy::Sequence,
            Strategy::Auto if task.tuned != Some(Strategy::Wavefront) => Strategy::Auto,
            _ => Strategy::Step,
        };
        let task = Task { strategy, all_states: true, ..task };
        let memory = limits.forward_memory;
        let with_forward_in = |allowed| -> Result<Self> {
            let of_forward = DeviceLimits { forward_memory: allowed, stacked_weights: false, ..*limits };
            let forward = Plan::new(config, Precision::F32, task, &of_forward)?;
            let backward = BackwardPlan::new(&forward, limits)?;
            Ok(Self { forward, backward })
        };
        let free = with_forward_in(memory)?;
        if free.device_bytes() <= memory {
            return Ok(free);
        }
        // Shorter chunks of the forward shorten those of the backward. Finds the longest that leave it enough: a
        // forward in less than `low` bytes does not exist or leaves some, one in `high` leaves too little.
        let (mut low, mut high) = (0, free.forward.device_bytes());
        let (mut longest, mut least) = (None, free.device_bytes());
        while low < high {
            let allowed = low + (high - low) / 2;
            match with_forward_in(allowed) {
                Err(Error::Limit { .. }) => low = allowed + 1,
                Ok(plan) if plan.device_bytes() <= memory => (low, longest) = (allowed + 1, Some(plan)),
                Ok(plan) => (high, least) = (plan.forward.device_bytes(), least.min(plan.device_bytes())),
                error => return error,
            }
        }
        let too_little = || exceeded("a training pass", "the bytes that set_memory_limit allows", least, memory);
        longest.ok_or_else(too_little)
    }

    /// Returns the plan of the forward.
    pub fn forward(&self) -> &Plan {
        &self.forward
    }

    /// Returns the bytes of device memory that a pass between host arrays takes in addition to the weights. What the
    /// forward leaves for the backward, the outputs of all layers and c of every step, stays until the pass is over.
    pub fn device_bytes(&self) -> u64 {
        self.forward.device_bytes().saturating_add(self.backward.own_bytes())
    }

    /// Returns the number of dispatches of the backward: for each layer one per time step (two with a projection or a
    /// second product), and about a dozen per time chunk.
    pub fn backward_dispatch_count(&self) -> usize {
        self.backward.program.dispatch_count()
    }

    /// Returns the most time steps whose gates the backward recomputes at a time.
    pub fn backward_chunk_steps(&self) -> usize {
        self.backward.schedule.chunk_steps
    }
}

/// Writes both halves: the forward as [`Plan`] does, and the backward's chunks, dispatches and memory.
impl fmt::Display for TrainingPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backward = &self.backward;
        write!(
            f,
            "forward: {}; backward: {} in {}, {} in {}; {} on the device",
            self.forward,
            Count(self.forward.task.extents.time_steps, "step"),
            Count(backward.schedule.chunks(), "chunk"),
            Count(self.backward_dispatch_count(), "dispatch"),
            Count(backward.submission_ends().len(), "submission"),
            Bytes(self.device_bytes()),
        )
    }
}

impl BackwardPlan {
    /// Plans the backward of a forward that keeps the states of every step.
    fn new(forward: &Plan, limits: &DeviceLimits) -> Result<Self> {
        let (config, task) = (&forward.config, &forward.task);
        let rows = task.state_arrays.tile_batch;
        let choice = BackwardChoice {
            input_product: input_product::tile(config, rows, limits),
            step: transposed::tile(rows, limits),
            chunk: transposed::tile_of_chunks(limits),
            software: limits.software,
        };
        let (schedule, program) = Backward { config, task, choice: &choice }.write(forward.chunk_steps(), limits)?;
        let submission_work = limits.submission_work;
        Ok(Self { config: config.clone(), task: *task, choice, program, schedule, submission_work })
    }

    /// Returns the bytes that the backward takes in addition to what the forward has left.
    fn own_bytes(&self) -> u64 {
        program::memory(&self.program.scratch())
    }

    /// Returns the ends of the submissions, as counts of commands from the start.
    pub(crate) fn submission_ends(&self) -> Vec<usize> {
        self.program.submission_ends(self.submission_work)
    }
}

/// Returns the roles of the kernels that a backward needs.
pub(crate) fn roles(config: &RecurrentConfig) -> impl Iterator<Item = Role> {
    BackwardKernel::of(config).into_iter().map(Role::Backward)
}

#[cfg(test)]
mod effects;
