//! One call of a model, checked.

use crate::config::RecurrentConfig;
use crate::dropout::Key;
use crate::error::{Error, Result};
use crate::extents::Extents;
use crate::memory::{collected, copied, zeroed};
use crate::options::Options;
use crate::real::Real;
use crate::strategy::Strategy;

/// The shape of a call: everything that a plan depends on apart from the model and the device. Buffers made for a task
/// fit every call of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) extents: Extents,
    pub(crate) state_arrays: StateArrays,
    /// True if dropout is active.
    pub(crate) dropout: bool,
    /// True if the states after every step are wanted, not only the last.
    pub(crate) all_states: bool,
    /// The requested strategy of the recurrence on a GPU.
    pub(crate) strategy: Strategy,
    /// The strategy that tuning found fastest, used if the choice is free.
    pub(crate) tuned: Option<Strategy>,
    /// The results that a GPU returns.
    pub(crate) results: Results,
}

/// The results that a call reads back from a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Results {
    /// None: they stay in arrays on the device.
    OnDevice,
    /// None, and the output is not wanted: the states stay in arrays on the device.
    StatesOnDevice,
    Output,
    States,
    OutputAndStates,
    /// Output and last states, while the states of all steps stay on the device.
    Training,
    /// None: output and last states stay in arrays on the device, and so do the states of all steps.
    RecordedTraining,
}

impl Task {
    /// Returns the task of a separate forward in evaluation mode.
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

    /// Returns the number of words in [`Call::words`].
    pub(crate) fn word_count(&self, config: &RecurrentConfig) -> usize {
        self.keys_at().saturating_add(if self.dropout { 2 * (config.num_layers - 1) } else { 0 })
    }

    /// Returns the index among the words at which the dropout keys begin.
    pub(crate) fn keys_at(&self) -> usize {
        self.extents.batch.saturating_mul(2).saturating_add(1)
    }
}

/// The arrays of the states: `[L·D, rows, ·]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateArrays {
    /// B for a forward, the capacity for streams.
    pub(crate) rows: usize,
    /// The batch that tiles are chosen for. It is never the number of rows of one push, as results would then depend on
    /// how many streams a push advances.
    pub(crate) tile_batch: usize,
}

/// A checked call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) task: Task,
    /// T for every row if `None`.
    lengths: Option<Vec<usize>>,
    /// b for row b if `None`.
    state_rows: Option<Vec<usize>>,
    /// The value of the output past a row's end.
    pub(crate) padding_value: f64,
    /// One for each layer except the last, if dropout is active.
    dropout_keys: Vec<Key>,
}

impl Call {
    /// Checks a separate forward in evaluation mode. Lengths are `[B]`, in any order; `None` is the whole sequence for
    /// every row. A length of 0 passes the row's state through, where PyTorch raises an error; a length above T is an
    /// error, where PyTorch packs nonsense.
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

    /// Sets the arrays of the states, which already exist.
    pub(crate) fn over(self, state_arrays: StateArrays) -> Self {
        Self { task: Task { state_arrays, ..self.task }, ..self }
    }

    /// Makes row b advance the state number `state_rows[b]`.
    pub(crate) fn with_state_rows(self, state_rows: Vec<usize>) -> Self {
        Self { state_rows: Some(state_rows), ..self }
    }

    /// Turns dropout on if there are keys.
    pub(crate) fn with_dropout(self, dropout_keys: Vec<Key>) -> Self {
        Self { task: Task { dropout: !dropout_keys.is_empty(), ..self.task }, dropout_keys, ..self }
    }

    /// Sets the strategy of a GPU.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn with_strategy(self, strategy: Strategy) -> Self {
        Self { task: Task { strategy, ..self.task }, ..self }
    }

    /// Returns the states after every step as well, if `all_states`.
    pub(crate) fn with_all_states(self, all_states: bool) -> Self {
        Self { task: Task { all_states, ..self.task }, ..self }
    }

    /// Sets the results to be returned.
    pub(crate) fn with_results(self, results: Results) -> Self {
        Self { task: Task { results, ..self.task }, ..self }
    }

    pub(crate) fn extents(&self) -> &Extents {
        &self.task.extents
    }

    /// Returns the length of row `b`.
    pub(crate) fn length(&self, b: usize) -> usize {
        self.lengths.as_ref().map_or(self.task.extents.time_steps, |lengths| lengths[b])
    }

    /// Returns the row of the state arrays that row `b` advances.
    pub(crate) fn state_row(&self, b: usize) -> usize {
        self.state_rows.as_ref().map_or(b, |rows| rows[b])
    }

    /// Returns the time of row `b` in step `step` of a direction. The reverse direction starts at the row's own end;
    /// past that, a step is its own time, where there is only padding. See `time_of` of shaders/base/rows.wgsl.
    pub(crate) fn time_of(&self, step: usize, direction: usize, b: usize) -> usize {
        let is_reverse = direction == 1 || self.task.extents.reverse;
        match self.length(b) {
            length if is_reverse && step < length => length - 1 - step,
            _ => step,
        }
    }

    /// Returns the dropout key of what `layer` reads, if dropout acts on it.
    pub(crate) fn dropout_key(&self, layer: usize) -> Option<Key> {
        self.dropout_keys.get(layer.checked_sub(1)?).copied()
    }

    /// Returns an array of state number `state` after every step, `[L·D, T, B, ·]`, filled with padding.
    pub(crate) fn padded_states<F: Real>(&self, config: &RecurrentConfig, state: usize) -> Result<Vec<F>> {
        let layers = config.layers_and_directions();
        let shape = [layers, self.task.extents.rows(), config.state_size(state)];
        let mut array = zeroed("the states of every step", &shape)?;
        array.fill(F::from_f64(self.padding_value));
        Ok(array)
    }

    /// Returns the words that the shaders read, `call_words` of shaders/base/params.wgsl: `[B]` lengths, `[B]` state
    /// rows, the bits of the padding value, the dropout keys.
    pub(crate) fn words(&self) -> Result<Vec<u32>> {
        // Lengths are at most T, and rows are fewer than there are states; both index a binding and so fit u32.
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
