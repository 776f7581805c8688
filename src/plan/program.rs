//! A program: all that a GPU is to do, as data. The writers of this folder make programs; `gpu/` runs any of them.
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

/// An array of a program, named by what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    /// `[T, B, I]` or `[B, T, I]`
    Input,
    /// `[T, B, D·P]` or `[B, T, D·P]`
    Output,
    /// h, or with a higher number what else the cell carries, before the first step: `[L·D, B, ·]`
    InitialState(usize),
    /// The same after the last step, `[L·D, state_rows, ·]`. What is carried beside h is updated here, in place; where all of its
    /// steps are wanted this is `[L, T + 1, D, state_rows, H]`.
    State(usize),
    /// The packed weights of a layer
    Weights { array: WeightArray, layer: usize },
    /// Those of all layers, one behind the other
    AllWeights(WeightArray),
    /// `[chunk_steps, B, D, H]` of G; where layers overlap, for each of them
    Gx,
    /// h before and after a step, `[2, L·D, state_rows, P]`
    H,
    /// h before its projection, `[B, D, H]`
    Raw,
    /// The operand of a step's second product and the update gate, `[2, B, D, H]`
    Gated,
    /// `[T, B, D·P]`: the output of a layer below the last, or of all layers, one behind the other
    LayerOutput(usize),
    /// The parameter blocks
    Params,
    /// What a call says: lengths, rows, padding, dropout keys
    Call,
    /// The same in memory of the host, of a recording
    CallSource,
    /// A state on its way between two ranges of one buffer, which no command can copy directly
    Transit(usize),
    /// Results for the host
    Readback,
}

/// For errors and explanations.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input => f.write_str("the input"),
            Self::Output => f.write_str("the output"),
            Self::InitialState(0) | Self::State(0) => f.write_str("a state"),
            Self::InitialState(_) | Self::State(_) => f.write_str("c"),
            Self::Weights { array, layer } => write!(f, "{array} of layer {layer}"),
            Self::AllWeights(array) => write!(f, "{array} of all layers"),
            // A chunk is cut to the steps that fit, down to one.
            Self::Gx => f.write_str("gx of one time step"),
            Self::H => f.write_str("h before and after a step"),
            Self::Raw => f.write_str("h before its projection"),
            Self::Gated => f.write_str("the reset state"),
            Self::LayerOutput(_) => f.write_str("the output of a layer"),
            Self::Params => f.write_str("the parameters of all chunks"),
            Self::Call | Self::CallSource => f.write_str("lengths and rows of the call"),
            Self::Transit(_) => f.write_str("a state in transit"),
            Self::Readback => f.write_str("the readback of output and states"),
        }
    }
}

/// Who provides the memory of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The caller, or for arrays of the host the model on the caller's behalf.
    Caller,
    /// The model, for the time of a run.
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
    /// Group 0, index = binding.
    pub(crate) storage: Vec<(Name, Access)>,
}

/// One call of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dispatch {
    /// Index into [`Program::bindings`].
    pub(crate) binding: usize,
    /// Where the chunk's block lies in the parameters, in bytes.
    pub(crate) chunk_offset: u32,
    /// Where the step's block lies there, for a kernel of one step.
    pub(crate) step_offset: u32,
    pub(crate) groups: [u32; 3],
    /// How long it may take, by the measure of [`SUBMISSION_WORK`](crate::plan::limits::SUBMISSION_WORK).
    pub(crate) work: u64,
}

/// Bytes `from..from + bytes` of an array, copied to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) source: Name,
    pub(crate) from: u64,
    pub(crate) target: Name,
    pub(crate) to: u64,
    pub(crate) bytes: u64,
}

/// What an encoder records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Dispatch(Dispatch),
    Copy(Copy),
    /// Zeros.
    Clear {
        target: Name,
        range: Range<u64>,
    },
}

/// Dispatches that are repeated, in each turn with the step block that follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Those of one turn, in [`Program::dispatches`].
    dispatches: Range<usize>,
    turns: usize,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Program {
    pub(crate) arrays: Vec<Array>,
    pub(crate) bindings: Vec<Binding>,
    dispatches: Vec<Dispatch>,
    segments: Vec<Segment>,
    /// Bytes from one step block to the next.
    pub(crate) step_stride: u32,
    /// Copies after the last dispatch.
    pub(crate) after: Vec<Copy>,
}

impl Program {
    /// Adds dispatches that run `turns` times, one after the other, each with its own step block in each turn.
    pub(crate) fn repeat(&mut self, turns: usize, dispatches: impl IntoIterator<Item = Dispatch>) -> Result<()> {
        let start = self.dispatches.len();
        for dispatch in dispatches {
            self.dispatches.try_reserve(1).map_err(|_| too_long(start))?;
            self.dispatches.push(dispatch);
        }
        self.segments.try_reserve(1).map_err(|_| too_long(start))?;
        self.segments.push(Segment { dispatches: start..self.dispatches.len(), turns });
        Ok(())
    }

    /// Every dispatch in order. Nothing is allocated.
    pub(crate) fn dispatches(&self) -> impl Iterator<Item = Dispatch> + '_ {
        self.segments.iter().flat_map(move |segment| {
            (0..segment.turns).flat_map(move |turn| {
                let step = turn as u32 * self.step_stride;
                let dispatches = self.dispatches[segment.dispatches.clone()].iter();
                dispatches.map(move |&dispatch| Dispatch { step_offset: dispatch.step_offset + step, ..dispatch })
            })
        })
    }

    /// Every command in order.
    pub(crate) fn commands(&self) -> impl Iterator<Item = Command> + '_ {
        self.dispatches().map(Command::Dispatch).chain(self.after.iter().copied().map(Command::Copy))
    }

    /// How many dispatches there are.
    pub(crate) fn dispatch_count(&self) -> usize {
        self.segments.iter().map(|segment| segment.turns * segment.dispatches.len()).sum()
    }

    /// The ends of the submissions, as counts of dispatches from the start: one for a program of ordinary length.
    pub(crate) fn submission_ends(&self, most_work: u64) -> Vec<usize> {
        let (mut ends, mut count, mut work) = (Vec::new(), 0, 0_u64);
        for dispatch in self.dispatches() {
            if work > 0 && work.saturating_add(dispatch.work) > most_work {
                ends.push(count);
                work = 0;
            }
            work = work.saturating_add(dispatch.work);
            count += 1;
        }
        if count > 0 {
            ends.push(count);
        }
        ends
    }

    /// The size of an array; 0 for one that is not in the table.
    pub(crate) fn bytes(&self, name: Name) -> u64 {
        self.arrays.iter().find(|array| array.name == name).map_or(0, |array| array.bytes)
    }

    /// The arrays that are not the caller's.
    pub(crate) fn scratch(&self) -> Vec<Array> {
        self.arrays.iter().copied().filter(|array| array.owner == Owner::Scratch).collect()
    }

    /// The memory of the whole table.
    pub(crate) fn memory(&self) -> u64 {
        memory(&self.arrays)
    }
}

/// The memory of a table of arrays.
pub(crate) fn memory(arrays: &[Array]) -> u64 {
    arrays.iter().map(|array| array.bytes).fold(0, u64::saturating_add)
}

/// Checks a table of arrays against what a device can hold, and bind.
pub(crate) fn check_arrays(arrays: &[Array], limits: &DeviceLimits) -> Result<()> {
    arrays.iter().try_for_each(|array| check_array(array, limits))
}

fn check_array(array: &Array, limits: &DeviceLimits) -> Result<()> {
    let what = array.name.to_string();
    match array.name {
        // Never bound.
        Name::Readback | Name::CallSource | Name::Transit(_) | Name::InitialState(_) => {}
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
