//! Training on a GPU: a forward whose states of every step stay on the device, and the backward that reads them and
//! leaves the gradients of the weights there.

use std::sync::Arc;

use crate::blocking::Wait;
use crate::call::{Call, Results, Task};
use crate::error::{Error, Result};
use crate::gpu::arrays::{Arrays, BufferRange};
use crate::gpu::gradients::{self, DeviceGradients};
use crate::gpu::guarded::GuardedDevice;
use crate::gpu::model::{GpuModel, take};
use crate::gpu::run::{self, Bound};
use crate::gpu::transfer;
use crate::gpu::workspace::Workspace;
use crate::gradients::{Derived, Given};
use crate::plan::Source;
use crate::plan::backward::{BackwardPlan, TrainingPlan, roles};
use crate::plan::kernel::check_limits;
use crate::plan::program::{Command, Name};
use crate::real::Real;

/// The arrays of a training pass, and what is ready to record.
#[derive(Debug)]
pub(crate) struct Training {
    /// The task that the plan was made for.
    asked: Task,
    /// The bytes that the plan tells.
    bytes: u64,
    forward: Workspace,
    backward: BackwardPlan,
    arrays: Arrays,
    /// The arrays of the gradients of the weights, which are among `arrays`, too.
    gradients: Arc<Arrays>,
    bound: Bound,
    ends: Vec<usize>,
    /// True if it binds the weights of the model before a step of an optimiser.
    has_old_weights: bool,
}

/// What a forward leaves for its backward.
#[derive(Debug)]
pub(crate) struct Tape {
    pub(crate) call: Call,
    training: Training,
}

/// The work of a backward in errors.
const DURING: &str = "running a backward";

impl GpuModel {
    /// Returns the plan of a training pass.
    pub(crate) fn plan_training(&self, task: Task) -> Result<TrainingPlan> {
        self.plan_pass(Task { results: Results::Training, ..task })
    }

    /// Returns the plan of a training pass with the results of the task.
    pub(super) fn plan_pass(&self, task: Task) -> Result<TrainingPlan> {
        check_limits(self.config.cell, roles(&self.config), &self.context.binding_limits)?;
        TrainingPlan::new(&self.config, self.with_strategy(task), &self.limits())
    }

    /// Returns the arrays of a pass: those of an earlier one of the shape, or new ones.
    pub(crate) async fn training(&self, task: Task, wait: Wait) -> Result<Training> {
        self.context.gpu.check_alive("starting a forward")?;
        let task = self.with_strategy(task);
        let mut training = match take(&self.idle_training, |training| training.asked == task) {
            Some(training) => training,
            None => self.new_training(task, wait).await?,
        };
        let Training { gradients, arrays, backward, .. } = &mut training;
        let are_others = gradients::replace_held(gradients, arrays, &self.context.gpu, &backward.program).await?;
        if are_others || training.has_old_weights {
            training.bind(self).await?;
        }
        Ok(training)
    }

    /// Runs a forward that leaves a tape, over the arrays of its task. `input` and `states` have the sizes that the
    /// call implies; the call is not empty. Returns the output and the last states, h first.
    pub(crate) async fn forward_train<F: Real>(
        &self,
        mut training: Training,
        call: Call,
        input: &[F],
        states: Option<&[&[F]]>,
        wait: Wait,
    ) -> Result<(Vec<F>, Vec<Vec<F>>, Tape)> {
        let gpu = &self.context.gpu.for_call();
        let forward = &mut training.forward;
        forward.upload(gpu, input, &call, wait).await?;
        let count = self.config.cell.states().len();
        let mut sources = vec![Source::Zeros; count];
        let h_0 = Name::InitialState(0);
        let mut before = Vec::new();
        match states {
            Some(states) => {
                let BufferRange { buffer, .. } = forward.arrays.get(h_0)?;
                transfer::upload(gpu, buffer, 0, bytemuck::cast_slice(states[0]), wait).await?;
                for (number, state) in states.iter().enumerate().skip(1) {
                    forward.upload_state(gpu, number, state, wait).await?;
                }
                sources.fill(Source::InPlace);
                sources[0] = Source::Array;
            }
            None => before.push(Command::Clear { target: h_0, range: 0..forward.arrays.get(h_0)?.bytes }),
        }
        before.extend(forward.plan.initial_commands(&sources));
        let submission = forward.submit(gpu, before, wait).await?;
        let results = forward.read_back(gpu, submission, wait).await;
        gpu.settle().await?;
        let mut results = results?.into_iter();
        let (output, h_n) = (results.next().unwrap_or_default(), results.next().unwrap_or_default());
        // Those of the other states come layer by layer.
        let others = results.collect::<Vec<_>>();
        let others = others.chunks(self.config.num_layers).map(<[Vec<F>]>::concat);
        let states = [h_n].into_iter().chain(others).collect();
        Ok((output, states, Tape { call, training }))
    }

    /// Runs the backward of a forward of this model.
    pub(crate) async fn backward<F: Real>(
        &self,
        tape: Tape,
        given: &Given<'_, F>,
        wait: Wait,
    ) -> Result<Derived<F, DeviceGradients>> {
        let gpu = &self.context.gpu.for_call();
        gpu.check_alive("starting a backward")?;
        let training = tape.training;
        let mut before = Vec::new();
        let mut give = async |name, array: Option<&[F]>| -> Result<()> {
            let BufferRange { buffer, bytes, .. } = training.arrays.get(name)?;
            match array {
                Some(array) => transfer::upload(gpu, buffer, 0, bytemuck::cast_slice(array), wait).await?,
                None => before.push(Command::Clear { target: name, range: 0..*bytes }),
            }
            Ok(())
        };
        give(Name::OutputGradient, given.output).await?;
        let states = self.config.cell.states().len();
        for number in 0..states {
            give(Name::StateGradient(number), given.states.map(|states| states[number])).await?;
        }
        let results = training.run(gpu, before, wait).await;
        gpu.settle().await?;
        let mut results = results?.into_iter();
        let input = results.next().unwrap_or_default();
        let states = results.by_ref().take(states).collect();
        let weights = DeviceGradients::new(&self.context, &self.config, &training.gradients);
        let bytes = training.bytes;
        self.keep_within_limit(&self.idle_training, training, bytes);
        Ok(Derived { input, states, weights })
    }

    /// Takes over the arrays of training passes from a model of other weights, so that a step of an optimiser leaves no
    /// need to make them again.
    pub(super) fn take_over_training(&self, other: &Self) {
        let mut idle = std::mem::take(&mut *other.idle_training.lock());
        idle.iter_mut().for_each(|training| training.has_old_weights = true);
        *self.idle_training.lock() = idle;
    }

    /// Creates the arrays of a new shape, dropping those kept for other shapes if memory runs out.
    async fn new_training(&self, task: Task, wait: Wait) -> Result<Training> {
        let plan = self.plan_training(task)?;
        let make = || Training::new(self, task, plan.clone(), wait);
        match make().await {
            Err(Error::OutOfMemory { .. }) if !self.idle_training.lock().is_empty() => {
                self.idle_training.lock().clear();
                make().await
            }
            made => made,
        }
    }
}

impl Training {
    async fn new(model: &GpuModel, asked: Task, plan: TrainingPlan, wait: Wait) -> Result<Self> {
        let (context, weights) = (&*model.context, &model.weights);
        let bytes = plan.device_bytes();
        let TrainingPlan { forward, backward } = plan;
        let mut forward = Workspace::new(context, weights, asked, forward, Arrays::default()).await?;
        let mut arrays = Arrays::default();
        arrays.add_missing(&context.gpu, &backward.program.scratch()).await?;
        let h_0 = Name::InitialState(0);
        forward.arrays.set(h_0, arrays.get(h_0)?.clone());
        arrays.adopt(&forward.arrays);
        let params = arrays.get(Name::Params)?;
        transfer::upload(&context.gpu, &params.buffer, 0, &backward.filled_params()?, wait).await?;
        let gradients = Arc::new(arrays.some(gradients::names(&model.config))?);
        let bound = Bound::new(context, &backward.program.bindings, Some(weights), &arrays).await?;
        let ends = backward.submission_ends();
        Ok(Self { asked, bytes, forward, backward, arrays, gradients, bound, ends, has_old_weights: false })
    }

    /// Binds the present arrays, and the weights of a model of the same configuration.
    async fn bind(&mut self, model: &GpuModel) -> Result<()> {
        let (context, weights) = (&*model.context, &model.weights);
        if self.has_old_weights {
            self.forward.set_weights(context, weights).await?;
        }
        self.bound = Bound::new(context, &self.backward.program.bindings, Some(weights), &self.arrays).await?;
        self.has_old_weights = false;
        Ok(())
    }

    /// Runs the backward and returns its results.
    async fn run<F: Real>(&self, gpu: &GuardedDevice, before: Vec<Command>, wait: Wait) -> Result<Vec<Vec<F>>> {
        let program = &self.backward.program;
        let submission = run::submit(gpu, before, program, &self.ends, &self.bound, &self.arrays, DURING, wait).await?;
        let sizes: Vec<u64> = program.results().collect();
        transfer::read_back(gpu, &self.arrays.get(Name::Readback)?.buffer, submission, wait, &sizes).await
    }
}

#[cfg(test)]
mod tests;
