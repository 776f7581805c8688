//! A step of an optimiser on a GPU: parameters, gradients and what the rule keeps stay where they are.

use std::sync::Arc;

use crate::blocking::Wait;
use crate::error::Result;
use crate::gpu::arrays::{Arrays, BufferRange};
use crate::gpu::context::Context;
use crate::gpu::run::{self, Bound};
use crate::gpu::transfer;
use crate::plan::limits::check;
use crate::plan::optim::kernel::OptimKernel;
use crate::plan::optim::params::SlotParams;
use crate::plan::optim::{self, CLIP_BYTES, OptimArray, WORD};
use crate::plan::program::{Command, Copy, Name, Program};
use crate::real::Real;

/// An array of parameters with all that a step reads of it.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) elements: u64,
    /// The element of `gradient`, and of each of `moments`, that belongs to the first parameter.
    pub(crate) first: u64,
    pub(crate) parameter: BufferRange,
    pub(crate) gradient: BufferRange,
    pub(crate) moments: Vec<BufferRange>,
    /// The numbers of the rule.
    pub(crate) rule: SlotParams,
}

/// What the norm of all gradients of a step has decided: the struct `Clip` of shaders/optim/clip.wgsl, field by field.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Clip {
    pub(crate) squares: f32,
    pub(crate) norm: f32,
    pub(crate) scale: f32,
    pub(crate) steps: u32,
}

/// A step of all slots on one device, ready to record.
#[derive(Debug)]
pub(crate) struct DeviceStep {
    context: Arc<Context>,
    arrays: Arrays,
    norm: (Program, Bound),
    update: (Program, Bound),
}

const DURING: &str = "running an optimiser's step";

impl DeviceStep {
    /// Makes everything that can fail.
    pub(crate) async fn new(
        context: &Arc<Context>,
        kernel: OptimKernel,
        slots: &[Slot],
        clip_norm: f32,
    ) -> Result<Self> {
        context.gpu.check_alive(DURING)?;
        let limits = &context.limits;
        check_limits_of(context, [OptimKernel::SumSquares, OptimKernel::Norm, kernel])?;
        let elements: Vec<u64> = slots.iter().map(|slot| slot.elements).collect();
        let (norm, update) = (optim::norm(&elements, limits)?, optim::update(kernel, &elements, limits)?);
        let mut arrays = Arrays::default();
        for (n, slot) in slots.iter().enumerate() {
            arrays.set(Name::Optim(OptimArray::Parameter(n)), slot.parameter.clone());
            arrays.set(Name::Optim(OptimArray::Gradient(n)), slot.gradient.clone());
            for (number, moments) in slot.moments.iter().enumerate() {
                arrays.set(Name::Optim(OptimArray::Moment { slot: n, number }), moments.clone());
            }
        }
        let params: Vec<_> = slots.iter().map(params).collect();
        add_params(context, &mut arrays, &norm, &params, clip_norm).await?;
        let norm_bound = Bound::new(context, &norm.bindings, None, &arrays).await?;
        let update_bound = Bound::new(context, &update.bindings, None, &arrays).await?;
        let context = Arc::clone(context);
        Ok(Self { context, arrays, norm: (norm, norm_bound), update: (update, update_bound) })
    }

    /// Submits the norm of all gradients, and returns it.
    pub(crate) async fn run_norm(&self, wait: Wait) -> Result<Clip> {
        self.submit(self.norm_commands(), &self.norm.1).await?;
        let clip = self.arrays.get(Name::Optim(OptimArray::Clip))?.clone();
        let words = transfer::read_ranges::<f32>(&self.context, DURING, &[clip], &[CLIP_BYTES], wait).await?;
        Ok(bytemuck::pod_read_unaligned(bytemuck::cast_slice(&words[0])))
    }

    /// Sets what the norm of gradients that are elsewhere, too, has decided.
    pub(crate) async fn set_clip(&self, clip: Clip, wait: Wait) -> Result<()> {
        let BufferRange { buffer, .. } = self.arrays.get(Name::Optim(OptimArray::Clip))?;
        transfer::upload(&self.context.gpu, buffer, 0, bytemuck::bytes_of(&clip), wait).await
    }

    /// Submits the update, in one piece.
    pub(crate) async fn run_update(&self) -> Result<()> {
        self.submit(self.update.0.commands(), &self.update.1).await
    }

    /// Records norm and update into a caller's encoder, with a copy of the norm to `norm`, if given.
    pub(crate) async fn record(self, encoder: &mut wgpu::CommandEncoder, norm: Option<&BufferRange>) -> Result<()> {
        let record = || {
            run::record(encoder, self.norm_commands(), &self.norm.1, &self.arrays)?;
            if let Some(BufferRange { buffer, offset, .. }) = norm {
                // The second word of `Clip`.
                let (clip, at) = self.arrays.part(Name::Optim(OptimArray::Clip), WORD..2 * WORD)?;
                encoder.copy_buffer_to_buffer(clip, at.start, buffer, *offset, WORD);
            }
            run::record(encoder, self.update.0.commands(), &self.update.1, &self.arrays)
        };
        self.context.gpu.scoped("recording an optimiser's step", record).await?
    }

    /// Returns true if a range overlaps any array of the step.
    pub(crate) fn uses(&self, range: &BufferRange) -> bool {
        self.arrays.overlap(range)
    }

    fn norm_commands(&self) -> impl Iterator<Item = Command> {
        std::iter::once(params_copy(&self.norm.0)).chain(self.norm.0.commands())
    }

    async fn submit(&self, commands: impl Iterator<Item = Command>, bound: &Bound) -> Result<()> {
        submit(&self.context, commands, bound, &self.arrays).await
    }
}

/// Adds arrays of f32, pair by pair, to the first of each.
pub(super) async fn add(context: &Arc<Context>, pairs: impl Iterator<Item = (BufferRange, BufferRange)>) -> Result<()> {
    check_limits_of(context, [OptimKernel::Add])?;
    let mut arrays = Arrays::default();
    let mut elements = Vec::new();
    for (n, (sum, addend)) in pairs.enumerate() {
        elements.push(sum.bytes / WORD);
        arrays.set(Name::Optim(OptimArray::Gradient(n)), sum);
        arrays.set(Name::Optim(OptimArray::Addend(n)), addend);
    }
    let program = optim::add(&elements, &context.limits)?;
    let of = |&elements: &u64| SlotParams { elements: elements as u32, ..SlotParams::default() };
    let params: Vec<_> = elements.iter().map(of).collect();
    add_params(context, &mut arrays, &program, &params, f32::MAX).await?;
    let bound = Bound::new(context, &program.bindings, None, &arrays).await?;
    let commands = std::iter::once(params_copy(&program)).chain(program.commands());
    submit(context, commands, &bound, &arrays).await
}

/// Creates an array of zeros.
pub(crate) async fn zeros(context: &Context, bytes: u64) -> Result<BufferRange> {
    use wgpu::BufferUsages as Use;
    let gpu = &context.gpu;
    check("what an optimiser keeps", "max_storage_buffer_binding_size", bytes, context.limits.storage_binding)?;
    context.limits.buffer("what an optimiser keeps", bytes)?;
    let usage = Use::STORAGE | Use::COPY_DST | Use::COPY_SRC;
    let make = || transfer::buffer(&gpu.device, "moments", bytes, usage);
    Ok(BufferRange::whole(gpu.scoped("creating the arrays of an optimiser", make).await?))
}

/// Writes values to an array of [`zeros`].
pub(crate) async fn write<F: Real>(context: &Context, array: &BufferRange, values: &[F], wait: Wait) -> Result<()> {
    transfer::upload(&context.gpu, &array.buffer, array.offset, bytemuck::cast_slice(values), wait).await
}

/// Reads an array back.
pub(crate) async fn read<F: Real>(context: &Context, array: &BufferRange, wait: Wait) -> Result<Vec<Vec<F>>> {
    let during = "reading what an optimiser keeps";
    transfer::read_ranges(context, during, std::slice::from_ref(array), &[array.bytes], wait).await
}

/// Returns the parameters of a slot.
fn params(slot: &Slot) -> SlotParams {
    // An array has at most as many bytes as a u32 counts.
    SlotParams { elements: slot.elements as u32, first: slot.first as u32, ..slot.rule }
}

/// Creates the scratch arrays of a program, and the memory that its parameters are copied from when it runs: several
/// recordings may await submission at the same time.
async fn add_params(
    context: &Context,
    arrays: &mut Arrays,
    program: &Program,
    params: &[SlotParams],
    clip_norm: f32,
) -> Result<()> {
    let gpu = &context.gpu;
    arrays.add_missing(gpu, &program.scratch()).await?;
    let mut words = optim::filled_params(params, clip_norm, &context.limits)?;
    words.truncate(program.bytes(Name::Params) as usize);
    let source = transfer::copy_source(gpu, "step", &words).await?;
    arrays.set(Name::Optim(OptimArray::ParamsSource), source);
    Ok(())
}

/// Returns the command that copies the parameters of a program to where kernels read them.
fn params_copy(program: &Program) -> Command {
    let (source, bytes) = (Name::Optim(OptimArray::ParamsSource), program.bytes(Name::Params));
    Command::Copy(Copy { source, from: 0, target: Name::Params, to: 0, bytes })
}

/// Submits commands in one piece: there is no state in between.
async fn submit(
    context: &Context,
    commands: impl Iterator<Item = Command>,
    bound: &Bound,
    arrays: &Arrays,
) -> Result<()> {
    let gpu = &context.gpu;
    let submit = || {
        let label = Some("wgpu-rnn optimiser");
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
        run::record(&mut encoder, commands, bound, arrays)?;
        gpu.queue.submit([encoder.finish()]);
        Ok(())
    };
    gpu.scoped(DURING, submit).await?
}

fn check_limits_of(context: &Context, kernels: impl IntoIterator<Item = OptimKernel>) -> Result<()> {
    kernels.into_iter().try_for_each(|kernel| optim::check(kernel, &context.limits, &context.binding_limits))
}
