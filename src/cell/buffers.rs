//! The caller's own device buffers of a cell's step.

use std::marker::PhantomData;

use crate::layer::buffers::{BufferSizes, DeviceArray, GivenArrays};
use crate::layer::kind::{GruKind, LstmKind, RnnKind};

/// The caller's device arrays for [`PlacedCell::encode`](crate::PlacedCell::encode): f32, dense, in PyTorch's shapes,
/// each a buffer or a range of one. They may be larger than needed. [`LstmCellBuffers`](crate::LstmCellBuffers),
/// [`GruCellBuffers`](crate::GruCellBuffers) and [`RnnCellBuffers`](crate::RnnCellBuffers) are its three kinds; c_0 and
/// c_n are the LSTM's alone. [`PlacedCell::buffer_sizes`](crate::PlacedCell::buffer_sizes) tells how many bytes each
/// takes.
///
/// | array | shape | usages of its buffer |
/// |---|---|---|
/// | input | `[B, I]` | `STORAGE` |
/// | h_n, c_n: after the step | `[B, H]` | `STORAGE`, `COPY_DST` |
/// | h_0, c_0: before the step | `[B, H]` | `COPY_SRC` |
///
/// Only the bytes of a range that the array needs count: what lies behind them is neither read nor written.
///
/// The output of a cell is h_n. Several arrays may lie in one buffer as long as they do not overlap; each begins at a
/// multiple of the device's `min_storage_buffer_offset_alignment`, h_0 and c_0 at a multiple of 4. h_0 may be the very
/// range of h_n, and c_0 that of c_n: a state that is carried in place from step to step.
///
/// ```no_run
/// use wgpu_rnn::{LstmCellBuffers, wgpu};
///
/// fn ranges(pool: &wgpu::Buffer) {
///     // Everything in one buffer. h moves on to the next range, which keeps it for all steps; c stays where it is.
///     let (x, h_0, h_n, c) = (pool.slice(..256), pool.slice(256..512), pool.slice(512..768), pool.slice(768..));
///     let buffers = LstmCellBuffers::new(x, h_n, c).with_initial(h_0, c);
/// }
/// ```
#[derive(Clone, Debug)]
pub struct CellBuffers<'a, K> {
    pub(super) arrays: GivenArrays<'a>,
    kind: PhantomData<K>,
}

impl<'a> CellBuffers<'a, LstmKind> {
    /// Arrays of a step from a zero state.
    pub fn new(
        input: impl Into<DeviceArray<'a>>,
        h_n: impl Into<DeviceArray<'a>>,
        c_n: impl Into<DeviceArray<'a>>,
    ) -> Self {
        let arrays = GivenArrays::without_output(input.into(), vec![h_n.into(), c_n.into()]);
        Self { arrays, kind: PhantomData }
    }

    /// The same from the given state.
    #[must_use]
    pub fn with_initial(mut self, h_0: impl Into<DeviceArray<'a>>, c_0: impl Into<DeviceArray<'a>>) -> Self {
        self.arrays.initial = Some(vec![h_0.into(), c_0.into()]);
        self
    }
}

/// The constructors of the kinds whose state is h alone.
macro_rules! cell_buffers_of_h {
    ($kind:ident) => {
        impl<'a> CellBuffers<'a, $kind> {
            /// Arrays of a step from a zero state.
            pub fn new(input: impl Into<DeviceArray<'a>>, h_n: impl Into<DeviceArray<'a>>) -> Self {
                let arrays = GivenArrays::without_output(input.into(), vec![h_n.into()]);
                Self { arrays, kind: PhantomData }
            }

            /// The same from the given state.
            #[must_use]
            pub fn with_initial(mut self, h_0: impl Into<DeviceArray<'a>>) -> Self {
                self.arrays.initial = Some(vec![h_0.into()]);
                self
            }
        }
    };
}

cell_buffers_of_h!(GruKind);
cell_buffers_of_h!(RnnKind);

/// The bytes that each array of a recorded step takes: [`PlacedCell::buffer_sizes`](crate::PlacedCell::buffer_sizes).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CellBufferSizes {
    /// `[B, I]`
    pub input: u64,
    /// h_0 and h_n, `[B, H]`
    pub h: u64,
    /// c_0 and c_n of an LSTM, `[B, H]`
    pub c: Option<u64>,
}

impl From<BufferSizes> for CellBufferSizes {
    fn from(BufferSizes { input, h, c, .. }: BufferSizes) -> Self {
        Self { input, h, c }
    }
}
