//! What one call asks of a model.

use crate::config::RecurrentConfig;
use crate::dropout::Key;
use crate::error::{Error, Result};
use crate::extents::Extents;
use crate::memory::zeroed;
use crate::memory::{collected, copied};
use crate::options::Options;
use crate::real::Real;
use crate::strategy::Strategy;

/// The shape of a call: all that a plan depends on beside the model and the device. Buffers that were made for a task fit every
/// call of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) extents: Extents,
    pub(crate) state_arrays: StateArrays,
    /// Whether dropout acts.
    pub(crate) dropout: bool,
    /// Whether the states after every step are wanted, not the last alone.
    pub(crate) all_states: bool,
    /// How a GPU is to run the recurrence.
    pub(crate) strategy: Strategy,
    /// What was found to be the fastest way, where the choice is free.
    pub(crate) tuned: Option<Strategy>,
    /// What a GPU gives back.
    pub(crate) results: Results,
}

/// The results that a call reads back from a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Results {
    /// None: they stay in arrays of the device.
    OnDevice,
    /// None, and nobody asks for the output: the states stay in arrays of the device.
    StatesOnDevice,
    Output,
    States,
    OutputAndStates,
}

impl Task {
    /// A forward of its own, in evaluation mode.
    pub(crate) fn forward(extents: Extents) -> Self {
        let state_arrays = StateArrays { rows: extents.batch, tile_batch: extents.batch };
        Self {
            extents,
            state_arrays,
            dropout: false,
            all_states: false,
            strategy: Strategy::Auto,
            tuned: None,
            results: Results::OutputAndStates,
        }
    }

    /// How many words [`Call::words`] gives.
    pub(crate) fn word_count(&self, config: &RecurrentConfig) -> usize {
        self.keys_at().saturating_add(if self.dropout { 2 * (config.num_layers - 1) } else { 0 })
    }

    /// Where among the words the dropout keys begin.
    pub(crate) fn keys_at(&self) -> usize {
        self.extents.batch.saturating_mul(2).saturating_add(1)
    }
}

/// The arrays of the states: `[L·D, rows, ·]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateArrays {
    /// B of a forward; of streams, how many there is room for.
    pub(crate) rows: usize,
    /// The batch that tiles are chosen for. It is never the number of rows of one push: were it that, results would depend on
    /// how many streams a push moves on.
    pub(crate) tile_batch: usize,
}

/// A checked call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) task: Task,
    /// T for every row if `None`
    lengths: Option<Vec<usize>>,
    /// b for row b if `None`
    state_rows: Option<Vec<usize>>,
    /// What the output holds behind a row's end.
    pub(crate) padding_value: f64,
    /// One for each layer but the last, where dropout acts.
    dropout_keys: Vec<Key>,
}

impl Call {
    /// A forward of its own, in evaluation mode. Lengths are `[B]`, in any order; none is the whole sequence for every row. A
    /// length of 0 passes the row's state through, where PyTorch raises an error; a length above T is an error, where PyTorch
    /// packs nonsense.
    pub(crate) fn new(extents: Extents, options: &Options<'_>) -> Result<Self> {
        let lengths = options.lengths.map(|lengths| check_lengths(&extents, lengths)).transpose()?;
        Ok(Self {
            task: Task::forward(extents),
            lengths: lengths.map(|lengths| copied("lengths", lengths)).transpose()?,
            state_rows: None,
            padding_value: options.padding_value,
            dropout_keys: Vec::new(),
        })
    }

    /// The same over states that are there already.
    pub(crate) fn over(self, state_arrays: StateArrays) -> Self {
        Self { task: Task { state_arrays, ..self.task }, ..self }
    }

    /// The same with row b moving on the state number `state_rows[b]`.
    pub(crate) fn with_state_rows(self, state_rows: Vec<usize>) -> Self {
        Self { state_rows: Some(state_rows), ..self }
    }

    /// The same with dropout, if there are keys.
    pub(crate) fn with_dropout(self, dropout_keys: Vec<Key>) -> Self {
        Self { task: Task { dropout: !dropout_keys.is_empty(), ..self.task }, dropout_keys, ..self }
    }

    /// The same, run by a GPU with a strategy.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn with_strategy(self, strategy: Strategy) -> Self {
        Self { task: Task { strategy, ..self.task }, ..self }
    }

    /// The same, giving the states after every step as well.
    pub(crate) fn with_all_states(self, all_states: bool) -> Self {
        Self { task: Task { all_states, ..self.task }, ..self }
    }

    /// The same, giving some of the results.
    pub(crate) fn with_results(self, results: Results) -> Self {
        Self { task: Task { results, ..self.task }, ..self }
    }

    pub(crate) fn extents(&self) -> &Extents {
        &self.task.extents
    }

    /// The length of row `b`.
    pub(crate) fn length(&self, b: usize) -> usize {
        self.lengths.as_ref().map_or(self.task.extents.time_steps, |lengths| lengths[b])
    }

    /// The row of the state arrays that row `b` moves on.
    pub(crate) fn state_row(&self, b: usize) -> usize {
        self.state_rows.as_ref().map_or(b, |rows| rows[b])
    }

    /// The time of row `b` that a direction is at in step `step`. Reverse starts at the row's own end; beyond it, a step is its
    /// own time, where there is nothing but padding. `time_of` of shaders/base/rows.wgsl.
    pub(crate) fn time_of(&self, step: usize, direction: usize, b: usize) -> usize {
        match self.length(b) {
            length if direction == 1 && step < length => length - 1 - step,
            _ => step,
        }
    }

    /// The key of what `layer` reads, where dropout acts on it.
    pub(crate) fn dropout_key(&self, layer: usize) -> Option<Key> {
        self.dropout_keys.get(layer.checked_sub(1)?).copied()
    }

    /// State number `state` after every step, `[L·D, T, B, ·]`, before any step has filled it: padding.
    pub(crate) fn padded_states<F: Real>(&self, config: &RecurrentConfig, state: usize) -> Result<Vec<F>> {
        let layers = config.layers_and_directions();
        let shape = [layers, self.task.extents.rows(), config.state_size(state)];
        let mut array = zeroed("the states of every step", &shape)?;
        array.fill(F::from_f64(self.padding_value));
        Ok(array)
    }

    /// What the shaders read, `call_words` of shaders/base/params.wgsl: `[B]` lengths, `[B]` state rows, the bits of the padding
    /// value, the dropout keys.
    pub(crate) fn words(&self) -> Result<Vec<u32>> {
        // Lengths are at most T and rows fewer than there are states; both index a binding and so fit u32.
        let batch = self.task.extents.batch;
        let numbers = (0..batch).map(|b| self.length(b)).chain((0..batch).map(|b| self.state_row(b)));
        let padding = (self.padding_value as f32).to_bits();
        let keys = self.dropout_keys.iter().copied().flatten();
        let words = numbers.map(|number| number as u32).chain([padding]).chain(keys);
        collected("lengths and rows of the call", self.task.keys_at() + 2 * self.dropout_keys.len(), words)
    }
}

fn check_lengths<'a>(extents: &Extents, lengths: &'a [usize]) -> Result<&'a [usize]> {
    if lengths.len() != extents.batch {
        let hint = extents.layout_hint(lengths.len());
        let expected = format!("[{}] (a length for each batch row{hint})", extents.batch);
        return Err(Error::Shape { what: "lengths".to_owned(), expected, got: vec![lengths.len()] });
    }
    match lengths.iter().enumerate().find(|&(_, &length)| length > extents.time_steps) {
        Some((row, length)) => Err(Error::Config {
            argument: "lengths",
            expected: "lengths of at most T, the time steps of the input",
            got: format!("{length} for row {row}, with T = {}", extents.time_steps),
        }),
        None => Ok(lengths),
    }
}
