//! A plan with arrays and bound kernels: created once, used for every call that it fits.

use crate::blocking::Wait;
use crate::call::{Call, Task};
use crate::error::Result;
use crate::gpu::arrays::{Arrays, BufferRange};
use crate::gpu::context::Context;
use crate::gpu::guarded::GuardedDevice;
use crate::gpu::run::{self, Bound};
use crate::gpu::transfer;
use crate::gpu::weights::PackedWeights;
use crate::plan::Plan;
use crate::plan::program::{Command, Name};
use crate::real::Real;

#[derive(Debug)]
pub(crate) struct Workspace {
    /// The task that the plan was made for.
    pub(crate) asked: Task,
    pub(crate) plan: Plan,
    /// At least as large as the plan needs.
    pub(crate) arrays: Arrays,
    bound: Bound,
    /// True if the input is somebody else's array.
    pub(crate) reads_given_input: bool,
    /// The end of each submission, as a count of dispatches from the start.
    ends: Vec<usize>,
    /// True if the parameter buffer holds this plan's parameters.
    has_params: bool,
    /// The content of the call's array; empty while unknown.
    call_words: Vec<u32>,
}

impl Workspace {
    /// Creates the arrays that are not given, and binds all of them.
    pub(crate) async fn new(
        context: &Context,
        weights: &PackedWeights,
        asked: Task,
        plan: Plan,
        mut arrays: Arrays,
    ) -> Result<Self> {
        arrays.add_missing(&context.gpu, &plan.program.arrays).await?;
        let bound = Bound::new(context, &plan.program.bindings, Some(weights), &arrays).await?;
        let ends = plan.submission_ends();
        let (reads_given_input, has_params, call_words) = (false, false, Vec::new());
        Ok(Self { asked, plan, arrays, bound, reads_given_input, ends, has_params, call_words })
    }

    /// Switches to a plan of another shape, for which the arrays are large enough.
    pub(crate) async fn reshape(
        &mut self,
        context: &Context,
        weights: &PackedWeights,
        asked: Task,
        plan: Plan,
    ) -> Result<()> {
        if self.plan.program.bindings != plan.program.bindings {
            self.bound = Bound::new(context, &plan.program.bindings, Some(weights), &self.arrays).await?;
        }
        self.ends = plan.submission_ends();
        (self.asked, self.plan, self.has_params) = (asked, plan, false);
        Ok(())
    }

    /// Binds other weights of the same configuration.
    pub(crate) async fn set_weights(&mut self, context: &Context, weights: &PackedWeights) -> Result<()> {
        self.bound = Bound::new(context, &self.plan.program.bindings, Some(weights), &self.arrays).await?;
        Ok(())
    }

    /// Makes the program read its input from another array.
    pub(crate) async fn set_input(
        &mut self,
        context: &Context,
        weights: &PackedWeights,
        input: BufferRange,
    ) -> Result<()> {
        if self.arrays.find(Name::Input) == Some(&input) {
            return Ok(());
        }
        self.arrays.set(Name::Input, input);
        self.bound = Bound::new(context, &self.plan.program.bindings, Some(weights), &self.arrays).await?;
        Ok(())
    }

    /// Uploads the call's parameters. Consecutive calls mostly have the same ones, which are not uploaded again.
    pub(crate) async fn upload_call(&mut self, gpu: &GuardedDevice, call: &Call, wait: Wait) -> Result<()> {
        if !self.has_params {
            self.write(gpu, Name::Params, 0, &self.plan.filled_params()?, wait).await?;
            self.has_params = true;
        }
        let words = call.words()?;
        if words != self.call_words {
            self.call_words.clear();
            self.write(gpu, Name::Call, 0, bytemuck::cast_slice(&words), wait).await?;
            self.call_words = words;
        }
        Ok(())
    }

    /// Uploads the input and the call's parameters.
    pub(crate) async fn upload<F: Real>(
        &mut self,
        gpu: &GuardedDevice,
        input: &[F],
        call: &Call,
        wait: Wait,
    ) -> Result<()> {
        self.write(gpu, Name::Input, 0, bytemuck::cast_slice(input), wait).await?;
        self.upload_call(gpu, call, wait).await
    }

    /// Uploads initial states, each `[L·D, B, ·]`, to where the first step reads them.
    pub(crate) async fn upload_states<F: Real>(&self, gpu: &GuardedDevice, states: &[&[F]], wait: Wait) -> Result<()> {
        for (s, &state) in states.iter().enumerate() {
            self.upload_state(gpu, s, state, wait).await?;
        }
        Ok(())
    }

    /// Uploads one initial state.
    pub(crate) async fn upload_state<F: Real>(
        &self,
        gpu: &GuardedDevice,
        number: usize,
        state: &[F],
        wait: Wait,
    ) -> Result<()> {
        let mut rest: &[u8] = bytemuck::cast_slice(state);
        for range in self.plan.initial_ranges(number) {
            let (own, others) = rest.split_at((range.end - range.start) as usize);
            self.write(gpu, self.plan.initial_array(number), range.start, own, wait).await?;
            rest = others;
        }
        Ok(())
    }

    async fn write(&self, gpu: &GuardedDevice, name: Name, at: u64, bytes: &[u8], wait: Wait) -> Result<()> {
        let BufferRange { buffer, offset, .. } = self.arrays.get(name)?;
        transfer::upload(gpu, buffer, offset + at, bytes, wait).await
    }

    /// Submits the commands `before`, then the program.
    pub(crate) async fn submit(
        &self,
        gpu: &GuardedDevice,
        before: Vec<Command>,
        wait: Wait,
    ) -> Result<wgpu::SubmissionIndex> {
        let during = "running a forward";
        run::submit(gpu, before, &self.plan.program, &self.ends, &self.bound, &self.arrays, during, wait).await
    }

    /// Returns the results once `submission` has copied them to the readback.
    pub(crate) async fn read_back<F: Real>(
        &self,
        gpu: &GuardedDevice,
        submission: wgpu::SubmissionIndex,
        wait: Wait,
    ) -> Result<Vec<Vec<F>>> {
        let sizes: Vec<u64> = self.plan.program.results().collect();
        transfer::read_back(gpu, &self.arrays.get(Name::Readback)?.buffer, submission, wait, &sizes).await
    }
}
