//! A model on a GPU: packed weights, and the buffers of the shapes that it was used with.

use std::sync::{Arc, Mutex, PoisonError};

use crate::call::{Call, Task};
use crate::config::RecurrentConfig;
use crate::gpu::Wait;
use crate::gpu::context::Context;
use crate::gpu::exec::{self, Initial};
use crate::gpu::kernels;
use crate::gpu::results;
use crate::gpu::tuned::Class;
use crate::gpu::weights::{LayerBuffers, Stacked};
use crate::gpu::workspace::{Bound, Io, Scratch, States, Wanted, Workspace};
use crate::model::Computed;
use crate::plan::Plan;
use crate::plan::limits::DeviceLimits;
use crate::precision::Precision;
use crate::extents::Extents;
use crate::strategy::Strategy;
use crate::weights::LayerWeights;
use crate::{Error, Real, Result};

/// How many sets of buffers a model keeps for calls to come; the one unused longest goes first.
const KEPT_SETS: usize = 4;

/// What a user may set on a model that is placed.
#[derive(Clone, Copy, Debug)]
struct Settings {
    /// The most device memory of a forward.
    forward_memory: u64,
    strategy: Strategy,
}

#[derive(Debug)]
pub(crate) struct GpuModel {
    pub(super) context: Arc<Context>,
    pub(super) config: RecurrentConfig,
    pub(super) weights: Vec<LayerBuffers>,
    /// Whether the recurrent weights of all layers are in one buffer.
    stacked: bool,
    settings: Mutex<Settings>,
    /// Workspaces that no call is using. A call takes one out, so calls from several threads never share one.
    idle: Mutex<Vec<Workspace>>,
    /// Scratch of `encode`. Recorded work may run any time later; it is shared by all recordings of a shape, as a queue runs
    /// them one after the other and none leaves anything in it for the next.
    encode_scratch: Mutex<Vec<Arc<(Plan, Scratch)>>>,
}

/// A caller's device buffers, checked.
pub(crate) struct EncodeIo<'a> {
    pub(crate) io: Io,
    /// The initial states, h first; zeros if `None`.
    pub(crate) initial: Option<Vec<&'a wgpu::Buffer>>,
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
        kernels::check_limits(config, &context.gpu.device.limits())?;
        for layer in 0..config.num_layers {
            LayerBuffers::check(context, config, layer, precision)?;
        }
        let stacked = Stacked::new(context, config, precision).await?;
        let mut weights = Vec::with_capacity(config.num_layers);
        for (layer, directions) in layers.chunks_exact(config.directions()).enumerate() {
            weights.push(
                LayerBuffers::place(context, config, stacked.as_ref(), layer, directions, precision, wait).await?,
            );
        }
        Ok(Self {
            context: Arc::clone(context),
            config: config.clone(),
            weights,
            stacked: stacked.is_some(),
            settings: Mutex::new(Settings { forward_memory: u64::MAX, strategy: Strategy::Auto }),
            idle: Mutex::default(),
            encode_scratch: Mutex::default(),
        })
    }

    pub(crate) fn plan(&self, task: Task) -> Result<Plan> {
        Plan::new(&self.config, task, &self.limits())
    }

    /// The device's, and the model's own.
    fn limits(&self) -> DeviceLimits {
        DeviceLimits { forward_memory: self.forward_memory(), stacked_weights: self.stacked, ..self.context.limits }
    }

    /// The most device memory that a forward may take.
    pub(super) fn forward_memory(&self) -> u64 {
        lock(&self.settings).forward_memory
    }

    /// Sets how much device memory a forward may take. Buffers that are kept for calls to come may take more, and go.
    pub(crate) fn set_forward_memory(&self, bytes: u64) {
        lock(&self.settings).forward_memory = bytes;
        lock(&self.idle).clear();
        lock(&self.encode_scratch).clear();
    }

    /// Sets the strategy of the calls to come, unless it cannot run this model.
    pub(crate) fn set_strategy(&self, strategy: Strategy) -> Result<()> {
        // What a forward may take is asked of each forward.
        let limits = DeviceLimits { forward_memory: u64::MAX, ..self.limits() };
        Plan::new(&self.config, Task { strategy, ..Task::forward(Extents::batched(&self.config, 1, 1)) }, &limits)?;
        lock(&self.settings).strategy = strategy;
        Ok(())
    }

    pub(crate) fn strategy(&self) -> Strategy {
        lock(&self.settings).strategy
    }

    /// The task with the strategy that it asks for, else the one that is set, else the one that was found to be fastest.
    pub(crate) fn with_strategy(&self, task: Task) -> Task {
        let asked = [task.strategy, self.strategy()].into_iter().find(|&strategy| strategy != Strategy::Auto);
        match asked {
            Some(strategy) => Task { strategy, ..task },
            None => Task { tuned: self.context.tuned.get(self.class(&task)), ..task },
        }
    }

    /// What the fastest strategy of a task depends on.
    pub(super) fn class(&self, task: &Task) -> Class {
        let config = &self.config;
        Class {
            cell: config.cell,
            input_size: config.input_size,
            hidden_size: config.hidden_size,
            proj_size: config.proj_size,
            num_layers: config.num_layers,
            directions: config.directions(),
            precision: LayerBuffers::precision_of(&self.weights),
            batch: task.state_arrays.tile_batch,
        }
    }

    /// The plan of a forward between arrays of the host.
    pub(crate) fn plan_forward(&self, task: Task) -> Result<Plan> {
        let plan = self.plan(self.with_strategy(task))?;
        plan.check_readback(&self.context.limits)?;
        Ok(plan)
    }

    /// `input` and `states` have the sizes that the call stands for, which is not empty.
    pub(crate) async fn forward<F: Real>(
        &self,
        call: &Call,
        input: &[F],
        states: Option<&[&[F]]>,
        wait: Wait,
    ) -> Result<Computed<F>> {
        let gpu = &self.context.gpu;
        gpu.check_alive("starting a forward")?;
        // Buffers fit a plan: another limit of memory, or another strategy, is another plan.
        let plan = self.plan_forward(call.task)?;
        let mut workspace = match take(&self.idle, |workspace| workspace.plan == plan) {
            Some(workspace) => workspace,
            None => self.new_workspace(plan, wait).await?,
        };
        workspace.upload(gpu, input, call, wait).await?;
        if let Some(states) = states {
            workspace.upload_states(gpu, states, wait).await?;
        }
        let initial = if states.is_none() { Initial::Zeros } else { Initial::Uploaded };
        let submission = exec::submit(gpu, &workspace, &initial, wait).await?;
        let arrays = workspace.read_back(gpu, submission, wait).await?;
        let computed = results::arrange(&workspace.plan, call, arrays)?;
        keep(&self.idle, workspace);
        Ok(computed)
    }

    /// Buffers for a new shape. Those that are kept for other shapes must not be why there is no memory for them.
    async fn new_workspace(&self, plan: Plan, wait: Wait) -> Result<Workspace> {
        let make = || async {
            let (states, capacity) = (States::new(&self.context.gpu, &plan).await?, plan.bytes);
            let wanted = Wanted::OutputAndStates;
            Workspace::new(&self.context, plan.clone(), capacity, &self.weights, states, wanted, wait).await
        };
        match make().await {
            Err(Error::OutOfMemory { .. }) if !lock(&self.idle).is_empty() => {
                lock(&self.idle).clear();
                make().await
            }
            made => made,
        }
    }

    /// The plan of a recording. The wavefront copies the output, which a caller's buffer need not allow; steps give the same bits
    /// without.
    pub(crate) fn plan_recording(&self, task: Task, output: &wgpu::Buffer) -> Result<Plan> {
        let task = self.with_strategy(task);
        let plan = self.plan(task)?;
        if output.usage().contains(wgpu::BufferUsages::COPY_DST) || plan.strategy() != Strategy::Wavefront {
            return Ok(plan);
        }
        if task.strategy == Strategy::Auto {
            return self.plan(Task { strategy: Strategy::Step, ..task });
        }
        let expected = "usage COPY_DST, as the wavefront strategy copies the output".to_owned();
        Err(Error::Buffer { name: "output", expected, got: format!("{:?}", output.usage()) })
    }

    /// Records a forward over the caller's buffers, by the plan of its task.
    pub(crate) async fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        plan: Plan,
        call: &Call,
        buffers: &EncodeIo<'_>,
        wait: Wait,
    ) -> Result<()> {
        let context = &*self.context;
        let initial = buffers.initial.as_deref();
        if call.extents().is_empty() {
            let states: Vec<_> = buffers.io.last.all().collect();
            let copy = || record_initial(encoder, initial, &states, &plan);
            return context.gpu.scoped("recording a forward of no steps", copy).await;
        }
        let shared = self.encode_scratch(plan, wait).await?;
        let (plan, scratch) = &*shared;
        // Recordings may wait side by side for their submission, so that what each call says has a buffer of its own.
        let scratch = scratch.with_call(&context.gpu, call).await?;
        // Everything that can fail comes before the first command.
        let bound = Bound::new(context, plan, &self.weights, &scratch, &buffers.io, &plan.bytes).await?;
        let record = || {
            let targets: Vec<_> = exec::initial_targets(&scratch, &buffers.io).collect();
            record_initial(encoder, initial, &targets, plan);
            exec::record(encoder, plan, &bound, 0..plan.dispatch_count());
            exec::record_output(encoder, plan, &scratch, &buffers.io);
        };
        context.gpu.scoped("recording a forward", record).await
    }

    async fn encode_scratch(&self, plan: Plan, wait: Wait) -> Result<Arc<(Plan, Scratch)>> {
        let shared = match take(&self.encode_scratch, |shared| shared.0 == plan) {
            Some(shared) => shared,
            None => {
                let scratch = Scratch::new(&self.context.gpu, &plan, &plan.bytes, wait).await?;
                Arc::new((plan, scratch))
            }
        };
        keep(&self.encode_scratch, Arc::clone(&shared));
        Ok(shared)
    }
}

/// Takes the first that fits out of a list.
fn take<T>(list: &Mutex<Vec<T>>, fits: impl FnMut(&T) -> bool) -> Option<T> {
    let mut list = lock(list);
    let at = list.iter().position(fits)?;
    Some(list.remove(at))
}

/// Adds to a list that keeps the newest few.
fn keep<T>(list: &Mutex<Vec<T>>, value: T) {
    let mut list = lock(list);
    if list.len() >= KEPT_SETS {
        list.remove(0);
    }
    list.push(value);
}

/// What is locked here is whole after every operation, so a panic of another thread does not spoil it.
fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts the initial states, or zeros, where they are read.
fn record_initial(
    encoder: &mut wgpu::CommandEncoder,
    initial: Option<&[&wgpu::Buffer]>,
    targets: &[&wgpu::Buffer],
    plan: &Plan,
) {
    for ((s, &target), bytes) in targets.iter().enumerate().zip(plan.bytes.states(&plan.config)) {
        match initial.map(|initial| initial[s]) {
            // The state is there already.
            Some(initial) if initial == target => {}
            Some(initial) => encoder.copy_buffer_to_buffer(initial, 0, target, 0, bytes),
            None => encoder.clear_buffer(target, 0, Some(bytes)),
        }
    }
}
