//! Writes the programs of an optimiser's step on a GPU.
//!
//! ```text
//! norm      for each slot: the sums of its squares; then the norm of all, and the factor that limits it
//! update    for each slot: parameters and what the rule keeps, in place
//! add       for each slot: a gradient to the sum of several
//! ```
//!
//! A slot is one array of parameters: a packed matrix of weights, a bias, or a buffer of the caller's. The grid of a
//! slot depends on its size alone, so that every device adds squares up in the same order.

pub(crate) mod kernel;
pub(crate) mod params;

use crate::cell_kind::CellKind;
use crate::error::Result;
use crate::plan::kernel::{Kernel, PipelineKey, Role, Sources, check_limits};
use crate::plan::limits::{BindingLimits, DeviceLimits, WORK_PER_BYTE};
use crate::plan::optim::kernel::OptimKernel;
use crate::plan::optim::params::SlotParams;
use crate::plan::program::{Array, Binding, Dispatch, Name, Owner, Program};
use crate::precision::Precision;

/// The invocations of a workgroup; `INVOCATIONS` of shaders/optim/slot.wgsl.
pub(crate) const INVOCATIONS: u64 = 256;
/// The elements that an invocation takes before a slot gets another workgroup.
const ELEMENTS: u64 = 8;
/// The most workgroups of a slot, which keep a large GPU busy.
const MAX_GROUPS: u64 = 1024;

/// The sizes of the words of `Clip` of shaders/optim/clip.wgsl, and of all of it.
pub(crate) const WORD: u64 = size_of::<u32>() as u64;
pub(crate) const CLIP_BYTES: u64 = 4 * WORD;

/// An array of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OptimArray {
    /// A slot's parameters.
    Parameter(usize),
    /// A slot's gradients.
    Gradient(usize),
    /// What the rule keeps of a slot: array `number` of its arrays.
    Moment { slot: usize, number: usize },
    /// The sums of squares of all slots.
    Squares,
    /// What the norm of all gradients decides.
    Clip,
    /// The parameter blocks, in memory that the host wrote.
    ParamsSource,
    /// The gradients that are added to those of a slot.
    Addend(usize),
}

/// Checks that a device can run a kernel.
pub(crate) fn check(kernel: OptimKernel, limits: &DeviceLimits, binding_limits: &BindingLimits) -> Result<()> {
    limits.workgroup(kernel.name(), [INVOCATIONS as u32, 1, 1], INVOCATIONS * WORD)?;
    limits.groups(kernel.name(), MAX_GROUPS)?;
    check_limits(sources(kernel).cell, [Role::Optim(kernel)], binding_limits)
}

/// Returns the number of workgroups for a slot's elements.
fn groups(elements: u64) -> u32 {
    elements.div_ceil(INVOCATIONS * ELEMENTS).clamp(1, MAX_GROUPS) as u32
}

/// Returns the program of the norm. The parameters have one block for each slot, and one for all of them.
pub(crate) fn norm(elements: &[u64], limits: &DeviceLimits) -> Result<Program> {
    let mut program = Program::default();
    let sums: u64 = elements.iter().map(|&elements| u64::from(groups(elements))).sum();
    let scratch = |name, bytes| Array { name: Name::Optim(name), bytes, owner: Owner::Scratch };
    program.arrays = vec![
        scratch(OptimArray::Squares, sums * WORD),
        scratch(OptimArray::Clip, CLIP_BYTES),
        Array { name: Name::Params, bytes: params::bytes(elements.len() + 1, limits), owner: Owner::Scratch },
    ];
    for slot in 0..elements.len() {
        let names = [OptimArray::Gradient(slot), OptimArray::Squares];
        program.bindings.push(binding(OptimKernel::SumSquares, &names));
    }
    program.bindings.push(binding(OptimKernel::Norm, &[OptimArray::Squares, OptimArray::Clip]));
    write(&mut program, elements, limits)?;
    let of_all = Dispatch { groups: [1, 1, 1], ..dispatch(elements.len(), sums, limits) };
    program.repeat(1, [of_all])?;
    Ok(program)
}

/// Returns the program of the update by a kernel. The parameters have one block for each slot.
pub(crate) fn update(kernel: OptimKernel, elements: &[u64], limits: &DeviceLimits) -> Result<Program> {
    let mut program = Program::default();
    for slot in 0..elements.len() {
        let mut names = vec![OptimArray::Parameter(slot), OptimArray::Gradient(slot), OptimArray::Clip];
        names.extend((0..kernel.moments()).map(|number| OptimArray::Moment { slot, number }));
        program.bindings.push(binding(kernel, &names));
    }
    write(&mut program, elements, limits)?;
    Ok(program)
}

/// Returns the program that adds gradients up. The parameters have one block for each slot.
pub(crate) fn add(elements: &[u64], limits: &DeviceLimits) -> Result<Program> {
    let mut program = Program::default();
    let bytes = params::bytes(elements.len(), limits);
    program.arrays = vec![Array { name: Name::Params, bytes, owner: Owner::Scratch }];
    for slot in 0..elements.len() {
        let names = [OptimArray::Gradient(slot), OptimArray::Addend(slot)];
        program.bindings.push(binding(OptimKernel::Add, &names));
    }
    write(&mut program, elements, limits)?;
    Ok(program)
}

/// Returns the parameters of all slots, and of the norm of all of them, from those of each slot's rule.
pub(crate) fn filled_params(slots: &[SlotParams], clip_norm: f32, limits: &DeviceLimits) -> Result<Vec<u8>> {
    let mut blocks = Vec::with_capacity(slots.len() + 1);
    let mut first_square = 0;
    for &slot in slots {
        blocks.push(SlotParams { first_square, ..slot });
        first_square += groups(slot.elements.into());
    }
    blocks.push(SlotParams { first_square, clip_norm, ..SlotParams::default() });
    params::fill(&blocks, limits)
}

/// Writes a dispatch for each slot, each with the binding of its number.
fn write(program: &mut Program, elements: &[u64], limits: &DeviceLimits) -> Result<()> {
    let slots = elements.iter().enumerate();
    program.repeat(1, slots.map(|(slot, &elements)| dispatch(slot, elements, limits)))
}

fn dispatch(slot: usize, elements: u64, limits: &DeviceLimits) -> Dispatch {
    let chunk_offset = params::offset(slot, limits);
    let work = elements.saturating_mul(WORD * WORK_PER_BYTE);
    Dispatch { binding: slot, chunk_offset, step_offset: 0, groups: [groups(elements), 1, 1], work }
}

fn binding(kernel: OptimKernel, names: &[OptimArray]) -> Binding {
    let sources = sources(kernel);
    let storage = names.iter().map(|&name| Name::Optim(name)).zip(sources.storage_access()).collect();
    Binding { pipeline: PipelineKey { sources, constants: Vec::new() }, storage }
}

/// Returns the sources of a kernel, which do not depend on a cell: any stands for it.
fn sources(kernel: OptimKernel) -> Sources {
    let (cell, precision) = (CellKind::Lstm, Precision::F32);
    Sources { kernel: Kernel::Optim(kernel), cell, product: 0, precision, wavefront: false, general: false }
}

/// Returns every kernel of optimisers.
pub(crate) fn shipped() -> impl Iterator<Item = PipelineKey> {
    OptimKernel::ALL.into_iter().map(|kernel| PipelineKey { sources: sources(kernel), constants: Vec::new() })
}
