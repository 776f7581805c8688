//! A model on a GPU: packed weights, and the buffers of the shapes that it was used with.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::blocking::Wait;
use crate::call::{Call, Results, Task};
use crate::config::RecurrentConfig;
use crate::error::{Error, Result};
use crate::extents::Extents;
use crate::gpu::arrays::{Arrays, BufferRange, missing};
use crate::gpu::context::Context;
use crate::gpu::gradients::{self, DeviceGradients};
use crate::gpu::optim::Slot;
use crate::gpu::record_train::Recorded;
use crate::gpu::run::{self, Bound};
use crate::gpu::train::Training;
use crate::gpu::transfer;
use crate::gpu::tuned::Class;
use crate::gpu::weights::PackedWeights;
use crate::gpu::workspace::Workspace;
use crate::plan::kernel::{Role, check_limits};
use crate::plan::limits::DeviceLimits;
use crate::plan::optim::WORD;
use crate::plan::optim::params::SlotParams;
use crate::plan::program::Name;
use crate::plan::{Plan, Source};
use crate::precision::Precision;
use crate::real::Real;
use crate::strategy::Strategy;
use crate::weights::LayerWeights;

/// The number of buffer sets that a model keeps for later calls; the least recently used one is dropped first.
const KEPT_SETS: usize = 4;

/// The settings of a placed model.
#[derive(Clone, Copy, Debug)]
struct Settings {
    /// The most device memory that a forward may take.
    forward_memory: u64,
    strategy: Strategy,
}

#[derive(Debug)]
pub(crate) struct GpuModel {
    pub(crate) context: Arc<Context>,
    pub(super) config: RecurrentConfig,
    pub(super) weights: PackedWeights,
    settings: Mutex<Settings>,
    /// The workspaces that no call is using. A call takes one out, so calls from several threads never share one.
    idle: Mutex<Vec<Workspace>>,
    /// The scratch arrays of `encode`. Recorded work may run at any later time; all recordings of a shape share them,
    /// because a queue runs them one after another and none leaves anything in them for the next.
    encode_scratch: Mutex<Vec<Arc<(Plan, Arrays)>>>,
    /// The arrays of training passes that are over.
    pub(super) idle_training: Mutex<Vec<Training>>,
    /// The same of recorded ones.
    pub(super) encode_training: Mutex<Vec<Recorded>>,
}

/// A caller's device arrays, checked.
pub(crate) struct DeviceArrays {
    pub(crate) input: BufferRange,
    /// `None` if it is scratch.
    pub(crate) output: Option<BufferRange>,
    /// The last states, h first.
    pub(crate) states: Vec<BufferRange>,
    /// The initial states, h first; zeros if `None`.
    pub(crate) initial: Option<Vec<BufferRange>>,
}

impl GpuModel {
    pub(crate) async fn place<F: Real>(
        context: &Arc<Context>,
        config: &RecurrentConfig,
        layers: &[LayerWeights<F>],
        precision: Precision,
        wait: Wait,
    ) -> Result<Self> {
        if size_of::<F>() != size_of::<f32>() {
            return Err(Error::Unsupported {
                what: format!("a model of {} on a GPU", F::NAME),
                why: "WGSL has no f64; load it as f32, or place it on the CPU".to_owned(),
            });
        }
        check_limits(config.cell, Role::of(config).iter().copied(), &context.binding_limits)?;
        let weights = PackedWeights::place(context, config, layers, precision, wait).await?;
        let settings = Settings { forward_memory: u64::MAX, strategy: Strategy::Auto };
        Ok(Self::over(context, config, weights, settings))
    }

    /// Returns a model of its own with a copy of the weights, the same settings, and what this one keeps for later
    /// training passes.
    pub(crate) async fn copied(&self) -> Result<Self> {
        let weights = self.weights.copied(&self.context.gpu).await?;
        let model = Self::over(&self.context, &self.config, weights, *self.settings.lock());
        model.take_over_training(self);
        Ok(model)
    }

    fn over(context: &Arc<Context>, config: &RecurrentConfig, weights: PackedWeights, settings: Settings) -> Self {
        Self {
            context: Arc::clone(context),
            config: config.clone(),
            weights,
            settings: Mutex::new(settings),
            idle: Mutex::default(),
            encode_scratch: Mutex::default(),
            idle_training: Mutex::default(),
            encode_training: Mutex::default(),
        }
    }

    /// Returns what a step of an optimiser changes: every array of parameters, with its gradients and what the rule
    /// keeps, both in the layout of gradients.
    pub(crate) fn slots(
        &self,
        gradients: &DeviceGradients,
        moments: &[DeviceGradients],
        rule: SlotParams,
    ) -> Result<Vec<Slot>> {
        let mut slots = Vec::new();
        for (layer, matrix) in gradients::matrices(&self.config) {
            let bias = matrix.bias_array().filter(|_| self.config.bias);
            let mut first = 0;
            for array in [Some(matrix.array), bias].into_iter().flatten() {
                let name = Name::Weights { array, layer };
                let parameter = self.weights.find(name).ok_or_else(|| missing(name))?.clone();
                let elements = parameter.bytes / WORD;
                let gradient = gradients.range(layer, &matrix)?;
                let moments = moments.iter().map(|moments| moments.range(layer, &matrix)).collect::<Result<_>>()?;
                slots.push(Slot { elements, first, parameter, gradient, moments, rule });
                first += elements;
            }
        }
        Ok(slots)
    }

    /// Returns the weights, index layer·D + direction.
    pub(crate) async fn read_weights<F: Real>(&self, wait: Wait) -> Result<Vec<LayerWeights<F>>> {
        let mut ranges = Vec::new();
        let mut sizes = Vec::new();
        for (layer, matrix) in gradients::matrices(&self.config) {
            let mut bytes = 0;
            for array in [Some(matrix.array), matrix.bias_array()].into_iter().flatten() {
                let name = Name::Weights { array, layer };
                let range = self.weights.find(name).ok_or_else(|| missing(name))?;
                bytes += range.bytes;
                ranges.push(range.clone());
            }
            sizes.push(bytes);
        }
        let packed = transfer::read_ranges(&self.context, "reading weights", &ranges, &sizes, wait).await?;
        gradients::unpack(&self.config, &packed)
    }

    pub(crate) fn plan(&self, task: Task) -> Result<Plan> {
        Plan::new(&self.config, self.weights.precision, task, &self.limits())
    }

    /// Returns the limits of the device.
    pub(crate) fn device_limits(&self) -> &DeviceLimits {
        &self.context.limits
    }

    /// Returns the limits of the device combined with the model's own.
    pub(super) fn limits(&self) -> DeviceLimits {
        let stacked_weights = self.weights.are_stacked();
        DeviceLimits { forward_memory: self.forward_memory(), stacked_weights, ..self.context.limits }
    }

    /// Returns the most device memory that a forward may take.
    pub(super) fn forward_memory(&self) -> u64 {
        self.settings.lock().forward_memory
    }

    /// Sets the most device memory that a forward may take, and drops the buffers kept for later calls, which may
    /// exceed it.
    pub(crate) fn set_forward_memory(&self, bytes: u64) {
        self.settings.lock().forward_memory = bytes;
        self.idle.lock().clear();
        self.encode_scratch.lock().clear();
        self.idle_training.lock().clear();
        self.encode_training.lock().clear();
    }

    /// Keeps the buffers of a call for later ones, unless the limit has been lowered below them since the call began.
    pub(super) fn keep_within_limit<T>(&self, list: &Mutex<Vec<T>>, buffers: T, bytes: u64) {
        // Held until the buffers are in the list, which setting the limit then clears.
        let settings = self.settings.lock();
        if bytes <= settings.forward_memory {
            keep(list, buffers);
        }
    }

    /// Sets the strategy of later calls, unless it cannot run this model.
    pub(crate) fn set_strategy(&self, strategy: Strategy) -> Result<()> {
        // The memory limit is checked for each forward.
        let limits = DeviceLimits { forward_memory: u64::MAX, ..self.limits() };
        let task = Task { strategy, ..Task::forward(Extents::batched(&self.config, 1, 1)) };
        Plan::new(&self.config, self.weights.precision, task, &limits)?;
        self.settings.lock().strategy = strategy;
        Ok(())
    }

    pub(crate) fn strategy(&self) -> Strategy {
        self.settings.lock().strategy
    }

    /// Returns the task with the strategy that it requests, otherwise the one that is set, otherwise the one that
    /// tuning found fastest.
    pub(crate) fn with_strategy(&self, task: Task) -> Task {
        let asked = [task.strategy, self.strategy()].into_iter().find(|&strategy| strategy != Strategy::Auto);
        match asked {
            Some(strategy) => Task { strategy, ..task },
            None => Task { tuned: self.context.tuned.get(self.class(&task)), ..task },
        }
    }

    /// Returns the properties of a task that its fastest strategy depends on.
    pub(super) fn class(&self, task: &Task) -> Class {
        let config = &self.config;
        Class {
            cell: config.cell,
            input_size: config.input_size,
            hidden_size: config.hidden_size,
            proj_size: config.proj_size,
            num_layers: config.num_layers,
            directions: config.directions(),
            precision: self.weights.precision,
            batch: task.state_arrays.tile_batch,
        }
    }

    /// Returns the plan of a forward between arrays on the host.
    pub(crate) fn plan_forward(&self, task: Task) -> Result<Plan> {
        self.plan(self.with_strategy(task))
    }

    /// Runs a forward. `input` and `states` have the sizes that the call implies; the call is not empty. Returns the
    /// arrays that the call's results name, see [`Program::results`](crate::plan::program::Program::results).
    pub(crate) async fn forward<F: Real>(
        &self,
        call: &Call,
        input: &[F],
        states: Option<&[&[F]]>,
        wait: Wait,
    ) -> Result<Vec<Vec<F>>> {
        let gpu = &self.context.gpu.for_call();
        gpu.check_alive("starting a forward")?;
        let task = self.with_strategy(call.task);
        // Buffers fit one plan: another memory limit or strategy makes another plan. Setting the limit clears the list.
        let mut workspace = match take(&self.idle, |workspace| workspace.asked == task) {
            Some(workspace) => workspace,
            None => self.new_workspace(task).await?,
        };
        workspace.upload(gpu, input, call, wait).await?;
        let source = match states {
            Some(states) => {
                workspace.upload_states(gpu, states, wait).await?;
                Source::InPlace
            }
            None => Source::Zeros,
        };
        let sources = vec![source; self.config.cell.states().len()];
        let before = workspace.plan.initial_commands(&sources);
        let submission = workspace.submit(gpu, before, wait).await?;
        let results = workspace.read_back(gpu, submission, wait).await;
        gpu.settle().await?;
        let results = results?;
        let bytes = workspace.plan.device_bytes();
        self.keep_within_limit(&self.idle, workspace, bytes);
        Ok(results)
    }

    /// Creates buffers for a new shape, dropping those kept for other shapes if memory runs out.
    async fn new_workspace(&self, task: Task) -> Result<Workspace> {
        let plan = self.plan(task)?;
        let make = || Workspace::new(&self.context, &self.weights, task, plan.clone(), Arrays::default());
        match make().await {
            Err(Error::OutOfMemory { .. }) if !self.idle.lock().is_empty() => {
                self.idle.lock().clear();
                make().await
            }
            made => made,
        }
    }

    /// Returns the plan of a recording, whose output goes to a caller's buffer, if any. The wavefront copies the
    /// output, which that buffer need not allow; without that, steps give the same bits.
    pub(crate) fn plan_recording(&self, task: Task, output: Option<&wgpu::Buffer>) -> Result<Plan> {
        let results = if output.is_some() { Results::OnDevice } else { Results::StatesOnDevice };
        let task = self.with_strategy(Task { results, ..task });
        let plan = self.plan(task)?;
        let is_no_target = |output: &&wgpu::Buffer| !output.usage().contains(wgpu::BufferUsages::COPY_DST);
        let Some(output) = output.filter(is_no_target).filter(|_| plan.strategy() == Strategy::Wavefront) else {
            return Ok(plan);
        };
        if task.strategy == Strategy::Auto {
            return self.plan(Task { strategy: Strategy::Step, ..task });
        }
        let expected = "usage COPY_DST, as the wavefront strategy copies the output".to_owned();
        Err(Error::Buffer { name: "output", expected, got: format!("{:?}", output.usage()) })
    }

    /// Records a forward over the caller's arrays, following the plan of its task.
    pub(crate) async fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        plan: Plan,
        call: &Call,
        given: DeviceArrays,
        wait: Wait,
    ) -> Result<()> {
        let context = &*self.context;
        let shared = self.encode_scratch(plan, wait).await?;
        let (plan, scratch) = &*shared;
        let mut arrays = scratch.clone();
        let before = self.give(plan, &mut arrays, given).await?;
        let words = transfer::copy_source(&context.gpu, "call", bytemuck::cast_slice(&call.words()?)).await?;
        arrays.set(Name::CallSource, words);
        // Everything that can fail comes before the first command.
        let bound = Bound::new(context, &plan.program.bindings, Some(&self.weights), &arrays).await?;
        let commands = before.into_iter().chain([plan.call_copy()]).chain(plan.program.commands());
        context.gpu.scoped("recording a forward", || run::record(encoder, commands, &bound, &arrays)).await?
    }

    /// Adds the caller's arrays to those of a plan. Returns the commands that copy the initial states to where they are
    /// read.
    async fn give(
        &self,
        plan: &Plan,
        arrays: &mut Arrays,
        given: DeviceArrays,
    ) -> Result<Vec<crate::plan::program::Command>> {
        arrays.set(Name::Input, given.input);
        if let Some(output) = given.output {
            arrays.set(Name::Output, output);
        }
        for (state, range) in given.states.into_iter().enumerate() {
            arrays.set(Name::State(state), range);
        }
        let mut sources = Vec::new();
        let mut transits = Vec::new();
        for state in 0..self.config.cell.states().len() {
            let Some(initial) = given.initial.as_ref().map(|initial| &initial[state]) else {
                sources.push(Source::Zeros);
                continue;
            };
            let target = arrays.get(plan.initial_array(state))?;
            sources.push(if initial.buffer != target.buffer {
                Source::Array
            } else if initial.offset == target.offset {
                Source::InPlace
            } else {
                transits.push(plan.transit(state));
                Source::SameBuffer
            });
            arrays.set(Name::InitialState(state), initial.clone());
        }
        arrays.add_missing(&self.context.gpu, &transits).await?;
        Ok(plan.initial_commands(&sources))
    }

    async fn encode_scratch(&self, plan: Plan, wait: Wait) -> Result<Arc<(Plan, Arrays)>> {
        let shared = match take(&self.encode_scratch, |shared| shared.0 == plan) {
            Some(shared) => shared,
            None => {
                let mut arrays = Arrays::default();
                let gpu = &self.context.gpu;
                arrays.add_missing(gpu, &plan.program.scratch()).await?;
                let params = &arrays.get(Name::Params)?.buffer;
                transfer::upload(gpu, params, 0, &plan.filled_params()?, wait).await?;
                Arc::new((plan, arrays))
            }
        };
        keep(&self.encode_scratch, Arc::clone(&shared));
        Ok(shared)
    }
}

/// Takes the first element that fits out of a list.
pub(super) fn take<T>(list: &Mutex<Vec<T>>, fits: impl FnMut(&T) -> bool) -> Option<T> {
    let mut list = list.lock();
    let at = list.iter().position(fits)?;
    Some(list.remove(at))
}

/// Adds an element to a list that keeps the newest few.
fn keep<T>(list: &Mutex<Vec<T>>, value: T) {
    let mut list = list.lock();
    if list.len() >= KEPT_SETS {
        list.remove(0);
    }
    list.push(value);
}
