//! The rows of a batch: how long each is, whose state it moves on, and what stands behind its end.

use crate::sequence::Sequence;
use crate::{Error, Result};

/// Checked rows of a batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rows {
    lengths: Vec<usize>,
    state_rows: Vec<usize>,
    /// What the output holds behind a row's end.
    pub(crate) padding_value: f64,
}

impl Rows {
    /// Rows whose states are the rows of the state arrays, in order. `lengths` is `[B]`, in any order; `None` is the whole
    /// sequence for every row. A length of 0 passes the row's state through, where PyTorch raises an error; a length above T
    /// is an error, where PyTorch packs nonsense.
    pub(crate) fn new(sequence: &Sequence, lengths: Option<&[usize]>, padding_value: f64) -> Result<Self> {
        let state_rows = (0..sequence.batch).collect();
        let Some(lengths) = lengths else {
            return Ok(Self { lengths: vec![sequence.time_steps; sequence.batch], state_rows, padding_value });
        };
        if lengths.len() != sequence.batch {
            let (expected, got) = (format!("[{}] (a length for each batch row)", sequence.batch), vec![lengths.len()]);
            return Err(Error::Shape { what: "lengths".to_owned(), expected, got });
        }
        let too_long = lengths.iter().enumerate().find(|&(_, &length)| length > sequence.time_steps);
        match too_long {
            Some((row, length)) => Err(Error::Config {
                argument: "lengths",
                expected: "lengths of at most T, the time steps of the input",
                got: format!("{length} for row {row}, with T = {}", sequence.time_steps),
            }),
            None => Ok(Self { lengths: lengths.to_vec(), state_rows, padding_value }),
        }
    }

    /// The same rows, each moving on a row of the state arrays of its own choice.
    pub(crate) fn with_state_rows(self, state_rows: Vec<usize>) -> Self {
        Self { state_rows, ..self }
    }

    /// The length of row `b`.
    pub(crate) fn length(&self, b: usize) -> usize {
        self.lengths[b]
    }

    /// The row of the state arrays that row `b` moves on.
    pub(crate) fn state_row(&self, b: usize) -> usize {
        self.state_rows[b]
    }

    /// What the shaders read, `rows_info` of shaders/common.wgsl: `[B]` lengths, `[B]` state rows, the bits of the padding value.
    pub(crate) fn words(&self) -> Vec<u32> {
        // Lengths are at most T and rows fewer than there are states; both index a binding and so fit u32.
        let numbers = self.lengths.iter().chain(&self.state_rows).map(|&number| number as u32);
        numbers.chain([(self.padding_value as f32).to_bits()]).collect()
    }

    /// How many words those are.
    pub(crate) fn word_count(batch: usize) -> usize {
        batch.saturating_mul(2).saturating_add(1)
    }
}
