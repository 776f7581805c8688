//! How large the buffers of a forward are.

use crate::Result;
use crate::call::Task;
use crate::config::RecurrentConfig;
use crate::plan::F32;
use crate::plan::limits::{DeviceLimits, Need};

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
    /// `[chunk_steps, B, D, H]` of G; where layers overlap, for each of them
    pub(crate) gx: u64,
    /// `[T, B, D·P]` between two layers; where layers overlap, of all of them, one behind the other
    pub(crate) between: u64,
    pub(crate) params: u64,
    /// What [`Call::words`](crate::call::Call::words) gives
    pub(crate) call: u64,
}

impl BufferBytes {
    /// The sizes for a task, all within the limits, but for gx and the parameters: those follow from the chunks. `wave` says whether
    /// layers overlap.
    pub(crate) fn of_task(config: &RecurrentConfig, task: &Task, wave: bool, limits: &DeviceLimits) -> Result<Self> {
        let (directions, layers) = (config.directions() as u64, config.num_layers as u64);
        let (t, b) = (task.extents.time_steps as u64, task.extents.batch as u64);
        let of_rows = |what, features: usize| Need::product(what, &[t, b, features as u64, F32]);
        let of_state = |what, steps: u64, size: usize| {
            Need::product(what, &[layers, steps, directions, task.state_arrays.rows as u64, size as u64, F32])
        };
        let h = of_state("a state", 1, config.recurrent_size());
        let carried = match (config.cell.states().len() > 1, task.all_states) {
            (false, _) => of_state("no state", 0, config.hidden_size),
            (true, false) => of_state("a state", 1, config.hidden_size),
            (true, true) => of_state("c of every step", t.saturating_add(1), config.hidden_size),
        };
        let call = Need::product("lengths and rows of the call", &[task.word_count(config) as u64, F32]);
        let input = of_rows("the input", config.input_size);
        let output = of_rows("the output", config.output_size());
        let between = match (wave, layers) {
            (true, _) => Need::product("the outputs of all layers", &[layers, padded_output(output.bytes)]),
            (false, 1) => Need { what: "nothing", bytes: 0 },
            (false, _) => Need { what: "the output of a layer", bytes: output.bytes },
        };
        let both = Need { what: "h before and after a step", bytes: h.bytes.saturating_mul(2) };
        for need in [&input, &output, &h, &carried, &call, &both, &between] {
            limits.storage_binding(need)?;
        }
        // Never more than gx of one step.
        let raw = Need::product("raw", &[b, directions, config.hidden_size as u64, F32]);
        Ok(Self {
            input: input.bytes,
            output: output.bytes,
            h: h.bytes,
            carried: carried.bytes,
            raw: if config.is_projected() { raw.bytes } else { 0 },
            gx: 0,
            between: between.bytes,
            params: 0,
            call: call.bytes,
        })
    }

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

/// The bytes of gx for one time step, of each layer where they overlap.
pub(crate) fn gx_of_step(config: &RecurrentConfig, batch: usize, wave: bool, limits: &DeviceLimits) -> Result<u64> {
    let layers = if wave { config.num_layers } else { 1 };
    let factors = [layers, batch, config.directions(), config.gate_rows()].map(|n| n as u64);
    let gx = Need::product("gx of one time step", &[&factors[..], &[F32]].concat());
    limits.storage_binding(&gx)?;
    Ok(gx.bytes)
}

/// The bytes from the output of a layer to that of the next, where they lie behind each other.
pub(crate) fn padded_output(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(256).unwrap_or(u64::MAX)
}
