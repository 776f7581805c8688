//! How long each row of a batch is, and what stands behind its end.

use crate::sequence::Sequence;
use crate::{Error, Result};

/// Checked lengths of the rows of a batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rows {
    lengths: Vec<usize>,
    /// What the output holds behind a row's end.
    pub(crate) padding_value: f64,
}

impl Rows {
    /// `lengths` is `[B]`, in any order; `None` is the whole sequence for every row. A length of 0 passes the row's state
    /// through, where PyTorch raises an error; a length above T is an error, where PyTorch packs nonsense.
    pub(crate) fn new(sequence: &Sequence, lengths: Option<&[usize]>, padding_value: f64) -> Result<Self> {
        let Some(lengths) = lengths else {
            return Ok(Self { lengths: vec![sequence.time_steps; sequence.batch], padding_value });
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
            None => Ok(Self { lengths: lengths.to_vec(), padding_value }),
        }
    }

    /// The length of row `b`.
    pub(crate) fn length(&self, b: usize) -> usize {
        self.lengths[b]
    }

    /// What the shaders read: `[B]` lengths, then the bits of the padding value.
    pub(crate) fn words(&self) -> Vec<u32> {
        // Lengths are at most T, which indexes a binding and so fits u32.
        let lengths = self.lengths.iter().map(|&length| length as u32);
        lengths.chain([(self.padding_value as f32).to_bits()]).collect()
    }
}
