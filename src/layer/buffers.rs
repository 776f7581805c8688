//! The caller's own device buffers.

use std::marker::PhantomData;

use crate::config::RecurrentConfig;
use crate::error::Result;
use crate::gpu::arrays::BufferRange;
use crate::gpu::model::DeviceArrays;
use crate::layer::kind::{GruKind, LstmKind, RnnKind};
use crate::layer::need::Need;
use crate::plan::Plan;
use crate::plan::limits::DeviceLimits;
use crate::plan::program::Name;

/// An array in a buffer of the caller's: the buffer, and the bytes from `offset` on. A whole buffer, a
/// [`BufferSlice`](wgpu::BufferSlice) and a [`BufferBinding`](wgpu::BufferBinding) are ranges, too.
///
/// ```no_run
/// use wgpu_rnn::{GruBuffers, wgpu};
///
/// fn ranges(pool: &wgpu::Buffer, state: &wgpu::Buffer) {
///     // Input and output in one buffer, as frameworks place them; the state in one of its own.
///     let buffers = GruBuffers::new(pool.slice(..4096), pool.slice(4096..8192), state);
///     let _ = buffers.with_initial(state);
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DeviceArray<'a> {
    pub(super) buffer: &'a wgpu::Buffer,
    pub(super) offset: u64,
    size: u64,
}

impl<'a> From<&'a wgpu::Buffer> for DeviceArray<'a> {
    fn from(buffer: &'a wgpu::Buffer) -> Self {
        Self { buffer, offset: 0, size: buffer.size() }
    }
}

impl<'a> From<wgpu::BufferSlice<'a>> for DeviceArray<'a> {
    fn from(slice: wgpu::BufferSlice<'a>) -> Self {
        Self { buffer: slice.buffer(), offset: slice.offset(), size: slice.size() }
    }
}

impl<'a> From<wgpu::BufferBinding<'a>> for DeviceArray<'a> {
    fn from(wgpu::BufferBinding { buffer, offset, size }: wgpu::BufferBinding<'a>) -> Self {
        let size = size.map_or(buffer.size().saturating_sub(offset), u64::from);
        Self { buffer, offset, size }
    }
}

impl<'a> DeviceArray<'a> {
    /// Returns the bytes that are there.
    pub(crate) fn bytes(&self) -> u64 {
        self.size.min(self.buffer.size().saturating_sub(self.offset))
    }

    pub(super) fn overlaps(&self, bytes: u64, other: &Self, other_bytes: u64) -> bool {
        self.buffer == other.buffer
            && self.offset < other.offset.saturating_add(other_bytes)
            && other.offset < self.offset.saturating_add(bytes)
    }

    pub(super) fn range(&self, bytes: u64) -> BufferRange {
        BufferRange { buffer: self.buffer.clone(), offset: self.offset, bytes }
    }
}

/// The caller's device arrays for [`Placed::encode`](crate::Placed::encode): f32, dense, in PyTorch's shapes, each a
/// buffer or a range of one. They may be larger than needed. [`LstmBuffers`](crate::LstmBuffers),
/// [`GruBuffers`](crate::GruBuffers) and [`RnnBuffers`](crate::RnnBuffers) are its three kinds; only the LSTM has c_0
/// and c_n.
/// [`Placed::buffer_sizes`](crate::Placed::buffer_sizes) tells how many bytes each takes.
///
/// | array | shape | usages of its buffer |
/// |---|---|---|
/// | input | `[T, B, I]`, batch_first `[B, T, I]` | `STORAGE` |
/// | output | `[T, B, D·P]`, batch_first `[B, T, D·P]` | `STORAGE` |
/// | h_n, c_n | `[L·D, B, P]`, `[L·D, B, H]` | `STORAGE`, `COPY_DST` |
/// | h_0, c_0 | `[L·D, B, P]`, `[L·D, B, H]` | `COPY_SRC` |
///
/// Only the bytes of a range that the array needs count: what lies behind them is neither read nor written.
///
/// Several arrays may lie in one buffer as long as they do not overlap; each begins at a multiple of the device's
/// `min_storage_buffer_offset_alignment`. The initial states are copied before anything is computed, so h_0 may be the
/// very range of h_n, and c_0 that of c_n: a state that is carried from call to call.
#[derive(Clone, Debug)]
pub struct Buffers<'a, K> {
    pub(super) arrays: GivenArrays<'a>,
    kind: PhantomData<K>,
}

/// The arrays that a caller gives a recording, of a layer's forward or a cell's step.
#[derive(Clone, Debug)]
pub(crate) struct GivenArrays<'a> {
    input: DeviceArray<'a>,
    /// `None` for a cell, whose output is h.
    output: Option<DeviceArray<'a>>,
    /// h_n, and c_n of an LSTM.
    last: Vec<DeviceArray<'a>>,
    /// h_0, and c_0 of an LSTM; zeros if `None`.
    pub(crate) initial: Option<Vec<DeviceArray<'a>>>,
}

impl<'a> Buffers<'a, LstmKind> {
    /// Arrays of a forward from zero states.
    pub fn new(
        input: impl Into<DeviceArray<'a>>,
        output: impl Into<DeviceArray<'a>>,
        h_n: impl Into<DeviceArray<'a>>,
        c_n: impl Into<DeviceArray<'a>>,
    ) -> Self {
        Self::of(input.into(), output.into(), vec![h_n.into(), c_n.into()])
    }

    /// The same from the given initial states.
    #[must_use]
    pub fn with_initial(mut self, h_0: impl Into<DeviceArray<'a>>, c_0: impl Into<DeviceArray<'a>>) -> Self {
        self.arrays.initial = Some(vec![h_0.into(), c_0.into()]);
        self
    }
}

/// The constructors of the kinds whose state is h alone.
macro_rules! buffers_of_h {
    ($kind:ident) => {
        impl<'a> Buffers<'a, $kind> {
            /// Arrays of a forward from a zero state.
            pub fn new(
                input: impl Into<DeviceArray<'a>>,
                output: impl Into<DeviceArray<'a>>,
                h_n: impl Into<DeviceArray<'a>>,
            ) -> Self {
                Self::of(input.into(), output.into(), vec![h_n.into()])
            }

            /// The same from the given initial state.
            #[must_use]
            pub fn with_initial(mut self, h_0: impl Into<DeviceArray<'a>>) -> Self {
                self.arrays.initial = Some(vec![h_0.into()]);
                self
            }
        }
    };
}

buffers_of_h!(GruKind);
buffers_of_h!(RnnKind);

/// The bytes that each array of a recording takes: [`Placed::buffer_sizes`](crate::Placed::buffer_sizes).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BufferSizes {
    /// `[T, B, I]`
    pub input: u64,
    /// `[T, B, D·P]`
    pub output: u64,
    /// h_0 and h_n, `[L·D, B, P]`
    pub h: u64,
    /// c_0 and c_n of an LSTM, `[L·D, B, H]`
    pub c: Option<u64>,
}

impl BufferSizes {
    pub(crate) fn of(plan: &Plan) -> Self {
        Self {
            input: plan.program.bytes(Name::Input),
            output: plan.program.bytes(Name::Output),
            h: plan.state_bytes(0),
            c: (plan.config.cell.states().len() > 1).then(|| plan.state_bytes(1)),
        }
    }
}

impl<'a, K> Buffers<'a, K> {
    fn of(input: DeviceArray<'a>, output: DeviceArray<'a>, last: Vec<DeviceArray<'a>>) -> Self {
        let arrays = GivenArrays { output: Some(output), ..GivenArrays::without_output(input, last) };
        Self { arrays, kind: PhantomData }
    }
}

impl<'a> GivenArrays<'a> {
    /// Those of a run from zero states whose output stays with the model.
    pub(crate) fn without_output(input: DeviceArray<'a>, last: Vec<DeviceArray<'a>>) -> Self {
        Self { input, output: None, last, initial: None }
    }

    /// Input and output, unless this is a cell.
    pub(super) fn input_and_output(&self) -> Option<[DeviceArray<'a>; 2]> {
        self.output.map(|output| [self.input, output])
    }

    /// The buffer of the output.
    pub(crate) fn output(&self) -> Option<&'a wgpu::Buffer> {
        self.output.map(|output| output.buffer)
    }

    /// Checks sizes, usages and places, and that no two arrays overlap where one of them is written.
    pub(crate) fn checked(&self, config: &RecurrentConfig, plan: &Plan, limits: &DeviceLimits) -> Result<DeviceArrays> {
        use wgpu::BufferUsages as Use;
        let names = config.cell.states();
        let bound = u64::from(limits.storage_alignment);
        let BufferSizes { input, output, .. } = BufferSizes::of(plan);
        let state_bytes: Vec<u64> = (0..names.len()).map(|state| plan.state_bytes(state)).collect();
        let of = |name, array, bytes| Need { name, array, bytes, usage: Use::STORAGE, alignment: bound };
        let mut needs = vec![of("input", self.input, input)];
        needs.extend(self.output.map(|array| of("output", array, output)));
        let first_state = needs.len();
        let states = names.iter().zip(&state_bytes);
        needs.extend(states.clone().zip(&self.last).map(|((name, &bytes), &array)| {
            let usage = Use::STORAGE | Use::COPY_DST;
            Need { name: name.last, array, bytes, usage, alignment: bound }
        }));
        for (i, need) in needs.iter().enumerate() {
            if let Some(other) = needs[..i].iter().find(|earlier| earlier.overlaps(need)) {
                return Err(need.overlap(other));
            }
        }
        let initial = states.zip(self.initial.iter().flatten()).map(|((name, &bytes), &array)| {
            let alignment = wgpu::COPY_BUFFER_ALIGNMENT;
            Need { name: name.initial, array, bytes, usage: Use::COPY_SRC, alignment }
        });
        for (state, need) in initial.enumerate() {
            // An initial state may be its own last state, but no part of it, and no part of another.
            let mut last = needs[first_state..first_state + names.len()].iter().enumerate();
            let own = |of: usize, last: &Need<'_>| of == state && last.array.offset == need.array.offset;
            if let Some((_, other)) = last.find(|&(of, last)| last.overlaps(&need) && !own(of, last)) {
                return Err(need.overlap(other));
            }
            needs.push(need);
        }
        needs.iter().try_for_each(Need::check)?;
        let ranges = |arrays: &[DeviceArray<'_>]| {
            arrays.iter().zip(&state_bytes).map(|(array, &bytes)| array.range(bytes)).collect::<Vec<_>>()
        };
        Ok(DeviceArrays {
            input: self.input.range(input),
            output: self.output.map(|array| array.range(output)),
            states: ranges(&self.last),
            initial: self.initial.as_deref().map(ranges),
        })
    }
}
