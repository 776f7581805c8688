//! A program: all the work of a GPU, as data. The writers in this folder create programs; `gpu/` runs any of them.
//!
//! ```text
//! arrays     a table: name, bytes, owner
//! bindings   kernels with the arrays that they bind, by name
//! commands   an iterator of dispatches and copies; nothing is allocated per step
//! ```

use std::fmt;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::plan::kernel::{Access, PipelineKey, WeightArray};
use crate::plan::limits::{DeviceLimits, check};
use crate::plan::optim::OptimArray;

/// An array of a program, named by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    /// `[T, B, I]` or `[B, T, I]`.
    Input,
    /// `[T, B, D·P]` or `[B, T, D·P]`.
    Output,
    /// h or, with a higher index, another state of the cell, before the first step: `[L·D, B, ·]`.
    InitialState(usize),
    /// The same state after the last step, `[L·D, state_rows, ·]`. States other than h are updated here, in place; if
    /// all of their steps are wanted, this is `[L, T + 1, D, state_rows, H]`.
    State(usize),
    /// The caller's array of a state before the first step, where the model keeps a copy of it.
    GivenState(usize),
    /// The caller's array of a state after the last step, where the model keeps those of all steps: `[L·D, B, ·]`.
    LastState(usize),
    /// The packed weights of a layer.
    Weights {
        array: WeightArray,
        layer: usize,
    },
    /// The packed weights of all layers, one after another.
    AllWeights(WeightArray),
    /// `[chunk_steps, B, D, H]` of G; if layers overlap, for each of them.
    Gx,
    /// h before and after a step, `[2, L·D, state_rows, P]`.
    H,
    /// h before its projection, `[B, D, H]`.
    Raw,
    /// The operand of a step's second product and the update gate, `[2, B, D, H]`.
    Gated,
    /// `[T, B, D·P]`: the output of a layer below the last, or of all layers, one after another.
    LayerOutput(usize),
    /// `[chunk_steps, B, D, H]`: what the backward of a cell works on, see shaders/cell/.
    Gates,
    /// The gradient with respect to h of every step of a chunk, if h is projected: `[chunk_steps, B, D, P]`.
    DhRows,
    /// The values that were projected, `[chunk_steps, B, D, H]`.
    Projected,
    /// Like the output.
    OutputGradient,
    /// `[T, B, D·P]`: the gradient with respect to the output of a layer below the last.
    LayerOutputGradient(usize),
    /// Like the input.
    InputGradient,
    /// The gradient with respect to a state: after the last step, then before the first. `[L·D, B, ·]`.
    StateGradient(usize),
    /// The caller's arrays of the same, after the last step and before the first.
    LastStateGradient(usize),
    InitialStateGradient(usize),
    /// The gradients of packed weights, in their layout, and then those of the bias.
    WeightGradient {
        array: WeightArray,
        layer: usize,
    },
    /// An array of an optimiser's step.
    Optim(OptimArray),
    /// The parameter blocks.
    Params,
    /// The parameters of a call: lengths, rows, padding, dropout keys.
    Call,
    /// The parameters of a recorded call, in memory that the host wrote.
    CallSource,
    /// A state that is copied between two ranges of one buffer, which no single command can do.
    Transit(usize),
    /// Results for the host.
    Readback,
}

/// Writes the name for errors and explanations.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input => f.write_str("the input"),
            Self::Output => f.write_str("the output"),
            Self::InitialState(0) | Self::State(0) | Self::GivenState(0) | Self::LastState(0) => f.write_str("a state"),
            Self::InitialState(_) | Self::State(_) | Self::GivenState(_) | Self::LastState(_) => f.write_str("c"),
            Self::Weights { array, layer } => write!(f, "{array} of layer {layer}"),
            Self::AllWeights(array) => write!(f, "{array} of all layers"),
            // A chunk is shortened to the steps that fit, down to one.
            Self::Gx => f.write_str("gx of one time step"),
            Self::H => f.write_str("h before and after a step"),
            Self::Raw => f.write_str("h before its projection"),
            Self::Gated => f.write_str("the reset state"),
            Self::LayerOutput(_) => f.write_str("the output of a layer"),
            Self::Gates => f.write_str("the gates of one time step"),
            Self::DhRows => f.write_str("the gradient of h"),
            Self::Projected => f.write_str("the values that are projected"),
            Self::OutputGradient => f.write_str("the gradient of the output"),
            Self::LayerOutputGradient(_) => f.write_str("the gradient of the output of a layer"),
            Self::InputGradient => f.write_str("the gradient of the input"),
            Self::StateGradient(0) | Self::LastStateGradient(0) | Self::InitialStateGradient(0) => {
                f.write_str("the gradient of a state")
            }
            Self::StateGradient(_) | Self::LastStateGradient(_) | Self::InitialStateGradient(_) => {
                f.write_str("the gradient of c")
            }
            Self::WeightGradient { array, layer } => write!(f, "the gradient of {array} of layer {layer}"),
            Self::Optim(_) => f.write_str("an array of an optimiser's step"),
            Self::Params => f.write_str("the parameter buffer"),
            Self::Call | Self::CallSource => f.write_str("lengths and rows of the call"),
            Self::Transit(_) => f.write_str("a state in transit"),
            Self::Readback => f.write_str("the readback of output and states"),
        }
    }
}

/// The provider of an array's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The caller or, for arrays of the host, the model on the caller's behalf.
    Caller,
    /// The model, for the duration of a run.
    Scratch,
}

/// An entry of the table of arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Array {
    pub(crate) name: Name,
    pub(crate) bytes: u64,
    pub(crate) owner: Owner,
}

/// A kernel with the arrays that it binds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Binding {
    pub(crate) pipeline: PipelineKey,
    /// The arrays of group 0; the index is the binding.
    pub(crate) storage: Vec<(Name, Access)>,
}

/// One dispatch of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dispatch {
    /// Index into [`Program::bindings`].
    pub(crate) binding: usize,
    /// The offset of the chunk's block in the parameters, in bytes.
    pub(crate) chunk_offset: u32,
    /// The offset of the step's block in the parameters, for a kernel of one step.
    pub(crate) step_offset: u32,
    pub(crate) groups: [u32; 3],
    /// The time that it may take, measured as in [`SUBMISSION_WORK`](crate::plan::limits::SUBMISSION_WORK).
    pub(crate) work: u64,
}

/// A copy of the bytes `from..from + bytes` of one array to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) source: Name,
    pub(crate) from: u64,
    pub(crate) target: Name,
    pub(crate) to: u64,
    pub(crate) bytes: u64,
}

/// A command that an encoder records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Dispatch(Dispatch),
    Copy(Copy),
    /// Fills a range with zeros.
    Clear {
        target: Name,
        range: Range<u64>,
    },
}

/// A part of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// Dispatches that are repeated, with the next step block in each iteration.
    Repeat {
        /// The dispatches of one iteration, as indices into [`Program::dispatches`].
        dispatches: Range<usize>,
        turns: usize,
    },
    /// Fills an array with zeros.
    Clear(Name),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Program {
    pub(crate) arrays: Vec<Array>,
    pub(crate) bindings: Vec<Binding>,
    dispatches: Vec<Dispatch>,
    segments: Vec<Segment>,
    /// The bytes from one step block to the next.
    pub(crate) step_stride: u32,
    /// Copies after the last dispatch.
    pub(crate) after: Vec<Copy>,
}

impl Program {
    /// Adds dispatches that run `turns` times, one after another, each with its own step block in each iteration.
    pub(crate) fn repeat(&mut self, turns: usize, dispatches: impl IntoIterator<Item = Dispatch>) -> Result<()> {
        let start = self.dispatches.len();
        for dispatch in dispatches {
            self.dispatches.try_reserve(1).map_err(|_| too_long(start))?;
            self.dispatches.push(dispatch);
        }
        self.segments.try_reserve(1).map_err(|_| too_long(start))?;
        self.segments.push(Segment::Repeat { dispatches: start..self.dispatches.len(), turns });
        Ok(())
    }

    /// Adds the filling of an array of the table with zeros.
    pub(crate) fn clear(&mut self, name: Name) -> Result<()> {
        self.segments.try_reserve(1).map_err(|_| too_long(self.dispatches.len()))?;
        self.segments.push(Segment::Clear(name));
        Ok(())
    }

    /// Returns every dispatch and clearing in order, without allocating.
    pub(crate) fn work(&self) -> impl Iterator<Item = Command> + '_ {
        self.segments.iter().flat_map(move |segment| {
            let (dispatches, turns, cleared) = match segment {
                Segment::Repeat { dispatches, turns } => (dispatches.clone(), *turns, None),
                Segment::Clear(name) => (0..0, 0, Some(*name)),
            };
            let repeated = (0..turns).flat_map(move |turn| {
                let step = turn as u32 * self.step_stride;
                let dispatches = self.dispatches[dispatches.clone()].iter();
                dispatches.map(move |&dispatch| Dispatch { step_offset: dispatch.step_offset + step, ..dispatch })
            });
            let clear = |target| Command::Clear { target, range: 0..self.bytes(target) };
            repeated.map(Command::Dispatch).chain(cleared.map(clear))
        })
    }

    /// Returns every dispatch in order.
    #[cfg(test)]
    pub(crate) fn dispatches(&self) -> impl Iterator<Item = Dispatch> + '_ {
        self.work().filter_map(|command| match command {
            Command::Dispatch(dispatch) => Some(dispatch),
            Command::Copy(_) | Command::Clear { .. } => None,
        })
    }

    /// Returns every command in order.
    pub(crate) fn commands(&self) -> impl Iterator<Item = Command> + '_ {
        self.work().chain(self.after.iter().copied().map(Command::Copy))
    }

    /// Returns the number of dispatches.
    pub(crate) fn dispatch_count(&self) -> usize {
        let of = |segment: &Segment| match segment {
            Segment::Repeat { dispatches, turns } => turns * dispatches.len(),
            Segment::Clear(_) => 0,
        };
        self.segments.iter().map(of).sum()
    }

    /// Returns the ends of the submissions, as counts of the commands of [`work`](Self::work) from the start: just one
    /// for a program of ordinary length.
    pub(crate) fn submission_ends(&self, most_work: u64) -> Vec<usize> {
        let (mut ends, mut count, mut work) = (Vec::new(), 0, 0_u64);
        for command in self.work() {
            let of_command = match command {
                Command::Dispatch(dispatch) => dispatch.work,
                Command::Copy(_) | Command::Clear { .. } => 0,
            };
            if work > 0 && work.saturating_add(of_command) > most_work {
                ends.push(count);
                work = 0;
            }
            work = work.saturating_add(of_command);
            count += 1;
        }
        if count > 0 {
            ends.push(count);
        }
        ends
    }

    /// Returns the size of an array; 0 if it is not in the table.
    pub(crate) fn bytes(&self, name: Name) -> u64 {
        self.arrays.iter().find(|array| array.name == name).map_or(0, |array| array.bytes)
    }

    /// Returns the arrays that are not the caller's.
    pub(crate) fn scratch(&self) -> Vec<Array> {
        self.arrays.iter().copied().filter(|array| array.owner == Owner::Scratch).collect()
    }

    /// Returns the sizes of the results that the host reads, in the order of the readback.
    pub(crate) fn results(&self) -> impl Iterator<Item = u64> + '_ {
        self.after.iter().filter(|copy| copy.target == Name::Readback).map(|copy| copy.bytes)
    }

    /// Returns the memory of the whole table.
    pub(crate) fn memory(&self) -> u64 {
        memory(&self.arrays)
    }
}

/// Returns the copies of ranges of arrays to where the host reads them, one after another.
pub(crate) fn read_back(ranges: impl Iterator<Item = (Name, Range<u64>)>) -> Vec<Copy> {
    let mut to = 0;
    let copy = |(source, range): (Name, Range<u64>)| {
        let bytes = range.end - range.start;
        let copy = Copy { source, from: range.start, target: Name::Readback, to, bytes };
        to += bytes;
        copy
    };
    ranges.map(copy).collect()
}

/// Returns the memory of a table of arrays.
pub(crate) fn memory(arrays: &[Array]) -> u64 {
    arrays.iter().map(|array| array.bytes).fold(0, u64::saturating_add)
}

/// Checks a table of arrays against the device's limits of memory and binding.
pub(crate) fn check_arrays(arrays: &[Array], limits: &DeviceLimits) -> Result<()> {
    arrays.iter().try_for_each(|array| check_array(array, limits))
}

fn check_array(array: &Array, limits: &DeviceLimits) -> Result<()> {
    let what = array.name.to_string();
    match array.name {
        // Never bound.
        Name::Readback | Name::CallSource | Name::Transit(_) => {}
        // Dynamic offsets are u32, whatever the size of a buffer may be.
        Name::Params => return check(&what, "max_buffer_size", array.bytes, limits.buffer.min(u32::MAX.into())),
        _ => check(&what, "max_storage_buffer_binding_size", array.bytes, limits.storage_binding)?,
    }
    check(&what, "max_buffer_size", array.bytes, limits.buffer)
}

fn too_long(dispatches: usize) -> Error {
    let (what, shape) = ("the dispatches of a program".to_owned(), vec![dispatches + 1]);
    Error::TooLarge { what, shape, bytes_each: size_of::<Dispatch>() }
}
