//! Training passes that are recorded into a caller's encoder, over the caller's arrays.

use std::sync::Arc;

use crate::blocking::Wait;
use crate::call::{Call, Results, Task};
use crate::error::Result;
use crate::gpu::arrays::{Arrays, BufferRange};
use crate::gpu::gradients::{self, DeviceGradients};
use crate::gpu::model::{DeviceArrays, GpuModel, take};
use crate::gpu::run::{self, Bound};
use crate::gpu::transfer;
use crate::plan::Source;
use crate::plan::backward::TrainingPlan;
use crate::plan::program::{Command, Copy, Name};

/// The model's own arrays of recorded passes of a shape. A pass has them for itself until its backward is recorded;
/// later passes take them over, because a queue runs recordings one after another.
#[derive(Debug)]
pub(crate) struct Recorded {
    plan: TrainingPlan,
    /// Those of the forward, and those of the backward, which adds the forward's.
    arrays: [Arrays; 2],
    gradients: Arc<Arrays>,
}

/// A recorded forward that awaits its backward.
#[derive(Debug)]
pub(crate) struct RecordedTape<'a> {
    model: &'a GpuModel,
    /// `None` once a later pass may take it over.
    recorded: Option<Recorded>,
    /// The caller's arrays, which the backward reads, too.
    given: Arrays,
}

/// A caller's arrays of gradients, checked; those that are `None` are zero, or not wanted.
pub(crate) struct GradientArrays {
    pub(crate) output: Option<BufferRange>,
    pub(crate) last: Option<Vec<BufferRange>>,
    pub(crate) input: Option<BufferRange>,
    pub(crate) initial: Option<Vec<BufferRange>>,
}

impl GpuModel {
    /// Returns the plan of a recorded training pass.
    pub(crate) fn plan_recorded_training(&self, task: Task) -> Result<TrainingPlan> {
        self.plan_pass(Task { results: Results::RecordedTraining, ..task })
    }

    /// Records the forward of a training pass over the caller's arrays, following the plan of its task.
    pub(crate) async fn encode_train(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        plan: TrainingPlan,
        call: &Call,
        given: DeviceArrays,
        wait: Wait,
    ) -> Result<RecordedTape<'_>> {
        let context = &*self.context;
        let recorded = self.recorded(plan, wait).await?;
        let plan = &recorded.plan.forward;
        let mut arrays = given_arrays(&given);
        // Everything that the backward reads of the caller's.
        let tape_arrays = arrays.clone();
        arrays.adopt(&recorded.arrays[0]);
        let h_0 = Name::InitialState(0);
        let mut before = Vec::new();
        let mut sources = vec![Source::Zeros; self.config.cell.states().len()];
        match given.initial {
            Some(initial) => {
                let bytes = plan.state_bytes(0);
                before.push(Command::Copy(Copy { source: Name::GivenState(0), from: 0, target: h_0, to: 0, bytes }));
                sources.fill(Source::Array);
                for (state, range) in initial.into_iter().enumerate() {
                    arrays.set(if state == 0 { Name::GivenState(0) } else { Name::InitialState(state) }, range);
                }
            }
            None => before.push(Command::Clear { target: h_0, range: 0..plan.state_bytes(0) }),
        }
        before.extend(plan.initial_commands(&sources));
        let words = transfer::copy_source(&context.gpu, "call", bytemuck::cast_slice(&call.words()?)).await?;
        arrays.set(Name::CallSource, words);
        let bound = Bound::new(context, &plan.program.bindings, Some(&self.weights), &arrays).await?;
        let commands = before.into_iter().chain([plan.call_copy()]).chain(plan.program.commands());
        context.gpu.scoped("recording a forward", || run::record(encoder, commands, &bound, &arrays)).await??;
        Ok(RecordedTape { model: self, recorded: Some(recorded), given: tape_arrays })
    }

    /// Returns the arrays of a pass: those of an earlier one of the plan, or new ones.
    async fn recorded(&self, plan: TrainingPlan, wait: Wait) -> Result<Recorded> {
        let gpu = &self.context.gpu;
        if let Some(mut recorded) = take(&self.encode_training, |recorded| recorded.plan == plan) {
            let Recorded { plan, arrays: [_, backward], gradients } = &mut recorded;
            gradients::replace_held(gradients, backward, gpu, &plan.backward.program).await?;
            return Ok(recorded);
        }
        let mut forward = Arrays::default();
        forward.add_missing(gpu, &plan.forward.program.scratch()).await?;
        let mut table = plan.backward.program.scratch();
        // The caller's, mostly.
        table.retain(|array| !matches!(array.name, Name::OutputGradient | Name::InputGradient));
        let mut backward = Arrays::default();
        backward.add_missing(gpu, &table).await?;
        let h_0 = Name::InitialState(0);
        forward.set(h_0, backward.get(h_0)?.clone());
        for (arrays, params) in [(&forward, plan.forward.filled_params()?), (&backward, plan.backward.filled_params()?)]
        {
            transfer::upload(gpu, &arrays.get(Name::Params)?.buffer, 0, &params, wait).await?;
        }
        backward.adopt(&forward);
        let gradients = Arc::new(backward.some(gradients::names(&self.config))?);
        Ok(Recorded { plan, arrays: [forward, backward], gradients })
    }
}

impl RecordedTape<'_> {
    /// Returns the plan of the pass.
    pub(crate) fn plan(&self) -> Option<&TrainingPlan> {
        self.recorded.as_ref().map(|recorded| &recorded.plan)
    }

    /// Records the backward. Returns the gradients of the weights, where it will leave them.
    pub(crate) async fn encode_backward(
        mut self,
        encoder: &mut wgpu::CommandEncoder,
        given: GradientArrays,
    ) -> Result<Option<DeviceGradients>> {
        let model = self.model;
        let (gpu, config) = (&model.context.gpu, &model.config);
        gpu.check_alive("recording a backward")?;
        let Some(recorded) = &mut self.recorded else { return Ok(None) };
        let program = &recorded.plan.backward.program;
        // What is not the caller's is made once, and stays for later passes.
        for (name, array) in [(Name::OutputGradient, &given.output), (Name::InputGradient, &given.input)] {
            let mut table = program.scratch();
            table.retain(|array| array.name == name);
            if array.is_none() {
                recorded.arrays[1].add_missing(gpu, &table).await?;
            }
        }
        let mut arrays = self.given.clone();
        arrays.adopt(&recorded.arrays[1]);
        let mut before = Vec::new();
        match given.output {
            Some(range) => arrays.set(Name::OutputGradient, range),
            None => {
                let target = Name::OutputGradient;
                before.push(Command::Clear { target, range: 0..program.bytes(target) });
            }
        }
        given.input.into_iter().for_each(|range| arrays.set(Name::InputGradient, range));
        let mut after = Vec::new();
        let copy = |source, target, bytes| Command::Copy(Copy { source, from: 0, target, to: 0, bytes });
        for state in 0..config.cell.states().len() {
            let own = Name::StateGradient(state);
            let bytes = program.bytes(own);
            match given.last.as_ref().map(|last| &last[state]) {
                Some(range) => {
                    arrays.set(Name::LastStateGradient(state), range.clone());
                    before.push(copy(Name::LastStateGradient(state), own, bytes));
                }
                None => before.push(Command::Clear { target: own, range: 0..bytes }),
            }
            if let Some(range) = given.initial.as_ref().map(|initial| &initial[state]) {
                arrays.set(Name::InitialStateGradient(state), range.clone());
                after.push(copy(own, Name::InitialStateGradient(state), bytes));
            }
        }
        let bound = Bound::new(&model.context, &program.bindings, Some(&model.weights), &arrays).await?;
        let commands = before.into_iter().chain(program.commands()).chain(after);
        gpu.scoped("recording a backward", || run::record(encoder, commands, &bound, &arrays)).await??;
        Ok(Some(DeviceGradients::new(&model.context, config, &recorded.gradients)))
    }
}

/// Leaves the arrays to later passes.
impl Drop for RecordedTape<'_> {
    fn drop(&mut self) {
        if let Some(recorded) = self.recorded.take() {
            let bytes = recorded.plan.device_bytes();
            self.model.keep_within_limit(&self.model.encode_training, recorded, bytes);
        }
    }
}

/// Returns the caller's arrays of a forward by name, except for the initial states.
fn given_arrays(given: &DeviceArrays) -> Arrays {
    let mut arrays = Arrays::default();
    arrays.set(Name::Input, given.input.clone());
    if let Some(output) = &given.output {
        arrays.set(Name::Output, output.clone());
    }
    for (state, range) in given.states.iter().enumerate() {
        arrays.set(if state == 0 { Name::State(0) } else { Name::LastState(state) }, range.clone());
    }
    arrays
}
