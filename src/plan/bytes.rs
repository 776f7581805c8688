//! How large the buffers of a forward are.

use crate::config::RecurrentConfig;

/// The sizes of a forward's buffers in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BufferBytes {
    /// `[T, B, I]`
    pub(crate) input: u64,
    /// `[T, B, D·P]`
    pub(crate) output: u64,
    /// `[L·D, state_rows, P]` of h
    pub(crate) h: u64,
    /// `[L·D, state_rows, H]` of what else is carried, `[L, T + 1, D, state_rows, H]` with the states of every step
    pub(crate) carried: u64,
    /// `[B, D, H]`, h before its projection; 0 without one
    pub(crate) raw: u64,
    /// `[chunk_steps, B, D, H]` of G
    pub(crate) gx: u64,
    /// `[T, B, D·P]` between two layers
    pub(crate) between: u64,
    pub(crate) params: u64,
    /// What [`Call::words`](crate::call::Call::words) gives
    pub(crate) call: u64,
}

impl BufferBytes {
    /// The larger of each.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            h: self.h.max(other.h),
            carried: self.carried.max(other.carried),
            raw: self.raw.max(other.raw),
            gx: self.gx.max(other.gx),
            between: self.between.max(other.between),
            params: self.params.max(other.params),
            call: self.call.max(other.call),
        }
    }

    /// The bytes of each state of the cell, h first.
    pub(crate) fn states(&self, config: &RecurrentConfig) -> impl Iterator<Item = u64> + use<> {
        let (h, carried) = (self.h, self.carried);
        (0..config.cell.states().len()).map(move |state| if state == 0 { h } else { carried })
    }
}
