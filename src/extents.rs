//! The shape of one forward: the extents that PyTorch's input and state shapes stand for.

use crate::config::RecurrentConfig;
use crate::error::{Error, Result};

/// The extents of a checked input, and the layout of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Extents {
    /// T.
    pub(crate) time_steps: usize,
    /// B; 1 for unbatched input.
    pub(crate) batch: usize,
    /// True if the arrays have a batch dimension.
    pub(crate) batched: bool,
    /// True if the time steps of a batch row are contiguous: `[B, T, ·]`.
    pub(crate) batch_first: bool,
    /// True if direction 0 runs from the end of each row to its start.
    pub(crate) reverse: bool,
}

/// The distance, in rows, between neighbors in time and in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowStride {
    pub(crate) time: usize,
    pub(crate) batch: usize,
}

impl Extents {
    /// Reads an input's shape by PyTorch's rule: `[T, B, I]`, `[B, T, I]` with batch_first, `[T, I]` unbatched.
    pub(crate) fn of_input(config: &RecurrentConfig, shape: &[usize]) -> Result<Self> {
        let error = || {
            let batched = if config.batch_first { "[B, T, I]" } else { "[T, B, I]" };
            let expected = format!("{batched} or unbatched [T, I] with I = {}", config.input_size);
            Error::Shape { what: "input".to_owned(), expected, got: shape.to_vec() }
        };
        let (time_steps, batch, features, batched) = match *shape {
            [t, i] => (t, 1, i, false),
            [b, t, i] if config.batch_first => (t, b, i, true),
            [t, b, i] => (t, b, i, true),
            _ => return Err(error()),
        };
        if features != config.input_size {
            return Err(error());
        }
        let batch_first = batched && config.batch_first;
        Ok(Self { time_steps, batch, batched, batch_first, reverse: config.reverse })
    }

    /// Returns a batch in the order of the configuration, which is the order of device buffers.
    pub(crate) fn batched(config: &RecurrentConfig, time_steps: usize, batch: usize) -> Self {
        Self { time_steps, batch, batched: true, batch_first: config.batch_first, reverse: config.reverse }
    }

    /// Returns T·B.
    pub(crate) fn rows(&self) -> usize {
        self.time_steps * self.batch
    }

    /// Returns true if there is nothing to compute.
    pub(crate) fn is_empty(&self) -> bool {
        self.time_steps == 0 || self.batch == 0
    }

    /// Returns the number of time steps that have anything to compute.
    pub(crate) fn steps_to_run(&self) -> usize {
        if self.is_empty() { 0 } else { self.time_steps }
    }

    /// Returns the layout of the rows of the input and of the last layer's output.
    fn user_rows(&self) -> RowStride {
        if self.batch_first { RowStride { time: 1, batch: self.time_steps } } else { self.time_major_rows() }
    }

    /// Returns the layout of the rows of everything between the layers.
    fn time_major_rows(&self) -> RowStride {
        RowStride { time: self.batch, batch: 1 }
    }

    /// Returns the layouts of the rows of a layer's input and output: the user's order at both ends of the stack,
    /// time-major in between.
    pub(crate) fn layer_rows(&self, layer: usize, num_layers: usize) -> (RowStride, RowStride) {
        let at = |is_end: bool| if is_end { self.user_rows() } else { self.time_major_rows() };
        (at(layer == 0), at(layer + 1 == num_layers))
    }

    /// Returns the shape of an input or output with `features` in the last dimension.
    pub(crate) fn shape(&self, features: usize) -> Vec<usize> {
        match (self.batched, self.batch_first) {
            (false, _) => vec![self.time_steps, features],
            (true, false) => vec![self.time_steps, self.batch, features],
            (true, true) => vec![self.batch, self.time_steps, features],
        }
    }

    /// Returns the shape of state number `state`: h `[L·D, B, P]`, c `[L·D, B, H]`; without B if unbatched.
    pub(crate) fn state_shape(&self, config: &RecurrentConfig, state: usize) -> Vec<usize> {
        let layers = config.layers_and_directions();
        let size = config.state_size(state);
        if self.batched { vec![layers, self.batch, size] } else { vec![layers, size] }
    }

    /// Returns the shape of state number `state` after every step: `[L·D, T, B, ·]`; without B if unbatched. As with
    /// all states, batch_first makes no difference.
    pub(crate) fn all_states_shape(&self, config: &RecurrentConfig, state: usize) -> Vec<usize> {
        let mut shape = self.state_shape(config, state);
        shape.insert(1, self.time_steps);
        shape
    }

    /// Returns a hint for an error message about `got`, which should have been B: if it is T, the input probably lies
    /// in the other of PyTorch's two layouts. Otherwise returns no text.
    pub(crate) fn layout_hint(&self, got: usize) -> String {
        if !self.batched || got != self.time_steps || got == self.batch {
            return String::new();
        }
        let layout = if self.batch_first { "[T, B, I]" } else { "[B, T, I]" };
        format!("; {got} is T: for an input {layout}, set with_batch_first({})", !self.batch_first)
    }

    /// Checks the shape of state number `state`, which is passed together with the input.
    pub(crate) fn check_state(&self, config: &RecurrentConfig, state: usize, shape: &[usize]) -> Result<()> {
        let expected = self.state_shape(config, state);
        let name = config.cell.states()[state].initial;
        let size = config.state_letter(state);
        if shape == expected {
            return Ok(());
        }
        let meaning = match (self.batched, shape.len()) {
            (true, 2) => format!("[L·D, B, {size}], as the input is batched"),
            (false, 3) => format!("[L·D, {size}], as the input is unbatched"),
            (true, _) => {
                let hint = match *shape {
                    [layers, b, features] if [layers, features] == [expected[0], expected[2]] => self.layout_hint(b),
                    _ => String::new(),
                };
                format!("[L·D, B, {size}]{hint}")
            }
            (false, _) => format!("[L·D, {size}]"),
        };
        Err(Error::Shape { what: name.to_owned(), expected: format!("{expected:?} ({meaning})"), got: shape.to_vec() })
    }
}
