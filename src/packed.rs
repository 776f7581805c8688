//! PyTorch's packed sequences: rows of different lengths without their padding.

use crate::error::{Error, Result};
use crate::memory::{collected, copied, filled, reserved, zeroed};
use crate::real::Real;
use crate::tensor::Tensor;

/// `torch.nn.utils.rnn.PackedSequence`: the rows of a padded batch, longest first, time step by time step, without
/// padding.
///
/// It is a format for exchange with PyTorch. A forward takes padded input and lengths
/// ([`Request::lengths`](crate::Request::lengths)), which [`pad`](Self::pad) gives.
///
/// ```
/// use wgpu_rnn::{PackedSequence, Tensor};
///
/// let x = Tensor::new([3, 2, 1], vec![1.0_f32, 10.0, 2.0, 20.0, 0.0, 30.0])?; // [T, B, I], lengths 2 and 3
/// let packed = PackedSequence::pack(&x, &[2, 3], false)?;
/// assert_eq!(packed.data().data(), [10.0, 1.0, 20.0, 2.0, 30.0]);
/// assert_eq!((packed.batch_sizes(), packed.sorted_indices()), (&[2, 2, 1][..], &[1, 0][..]));
/// assert_eq!(packed.pad(false, 0.0, None)?, (x, vec![2, 3]));
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PackedSequence<F = f32> {
    data: Tensor<F>,
    batch_sizes: Vec<usize>,
    sorted_indices: Vec<usize>,
}

impl<F: Real> PackedSequence<F> {
    /// `pack_padded_sequence(input, lengths, batch_first, enforce_sorted=False)`. `input` is `[T, B, I]`, with
    /// `batch_first` `[B, T, I]`; rows of equal length keep their order.
    ///
    /// # Errors
    /// [`Error::Shape`] unless the input has three dimensions and there is a length for each row; [`Error::Config`] for
    /// a length of 0 (PyTorch's rule: the format cannot hold it) or above T; [`Error::TooLarge`] when memory cannot be
    /// had.
    pub fn pack(input: &Tensor<F>, lengths: &[usize], batch_first: bool) -> Result<Self> {
        let (steps, batch, features) = match *input.shape() {
            [b, t, i] if batch_first => (t, b, i),
            [t, b, i] => (t, b, i),
            ref got => {
                let expected = if batch_first { "[B, T, I]" } else { "[T, B, I]" }.to_owned();
                return Err(Error::Shape { what: "input".to_owned(), expected, got: got.to_vec() });
            }
        };
        if lengths.len() != batch {
            let expected = format!("[{batch}] (a length for each batch row)");
            return Err(Error::Shape { what: "lengths".to_owned(), expected, got: vec![lengths.len()] });
        }
        if let Some((row, length)) = lengths.iter().enumerate().find(|&(_, &length)| length == 0 || length > steps) {
            return Err(Error::Config {
                argument: "lengths",
                expected: "lengths from 1 to T, the time steps of the input",
                got: format!("{length} for row {row}, with T = {steps}"),
            });
        }
        let mut sorted_indices = collected("sorted_indices", batch, 0..batch)?;
        // The order of equal lengths is that of the rows; sorting in place takes no memory.
        sorted_indices.sort_unstable_by_key(|&row| (std::cmp::Reverse(lengths[row]), row));
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let mut batch_sizes = reserved("batch_sizes", &[longest])?;
        let mut running = batch;
        for t in 0..longest {
            // Longest rows first, so those that have ended stand at the end.
            while lengths[sorted_indices[running - 1]] <= t {
                running -= 1;
            }
            batch_sizes.push(running);
        }
        // At most T·B, the rows of the input.
        let shape = [batch_sizes.iter().sum(), features];
        let mut data = reserved("the packed rows", &shape)?;
        for (t, &size) in batch_sizes.iter().enumerate() {
            for &row in &sorted_indices[..size] {
                let at = if batch_first { row * steps + t } else { t * batch + row } * features;
                data.extend_from_slice(&input.data()[at..at + features]);
            }
        }
        Ok(Self { data: Tensor::new(shape, data)?, batch_sizes, sorted_indices })
    }

    /// A packed sequence out of PyTorch's own parts.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `data` is `[sum of batch_sizes, I]`; [`Error::Config`] unless `batch_sizes` are positive
    /// and do not grow, and `sorted_indices` are the rows 0..B, each once; [`Error::TooLarge`] when memory cannot be
    /// had.
    pub fn from_parts(data: Tensor<F>, batch_sizes: Vec<usize>, sorted_indices: Vec<usize>) -> Result<Self> {
        let falling = batch_sizes.windows(2).all(|pair| pair[0] >= pair[1]) && !batch_sizes.contains(&0);
        if !falling {
            let (argument, expected) = ("batch_sizes", "sizes > 0 that do not grow");
            return Err(Error::Config { argument, expected, got: first_of(&batch_sizes) });
        }
        let mut rows = copied("sorted_indices", &sorted_indices)?;
        rows.sort_unstable();
        if !rows.into_iter().eq(0..batch_sizes.first().copied().unwrap_or(0)) {
            let (argument, expected) = ("sorted_indices", "the rows 0..batch_sizes[0], each once");
            return Err(Error::Config { argument, expected, got: first_of(&sorted_indices) });
        }
        let steps = batch_sizes.iter().try_fold(0_usize, |sum, &size| sum.checked_add(size));
        match (data.shape(), steps) {
            (&[rows, _], Some(steps)) if rows == steps => Ok(Self { data, batch_sizes, sorted_indices }),
            (got, _) => {
                let expected = "[sum of batch_sizes, I]".to_owned();
                Err(Error::Shape { what: "data".to_owned(), expected, got: got.to_vec() })
            }
        }
    }

    /// `pad_packed_sequence(self, batch_first, padding_value, total_length)`: the padded batch, `[T, B, I]` or with
    /// `batch_first` `[B, T, I]`, and the lengths. T is the longest row or `total_length`.
    ///
    /// # Errors
    /// [`Error::Config`] for a `total_length` below the longest row, [`Error::TooLarge`] when memory cannot be had.
    pub fn pad(
        &self,
        batch_first: bool,
        padding_value: F,
        total_length: Option<usize>,
    ) -> Result<(Tensor<F>, Vec<usize>)> {
        let (longest, batch) = (self.batch_sizes.len(), self.sorted_indices.len());
        let steps = total_length.unwrap_or(longest);
        if steps < longest {
            let (argument, got) = ("total_length", format!("{steps}, with a row of {longest}"));
            return Err(Error::Config { argument, expected: "at least the longest row", got });
        }
        let features = self.data.shape()[1];
        let shape = if batch_first { [batch, steps, features] } else { [steps, batch, features] };
        let mut padded = filled("the padded batch", &shape, padding_value)?;
        let mut lengths = zeroed("lengths", &[batch])?;
        let mut from = 0;
        for (t, &size) in self.batch_sizes.iter().enumerate() {
            for &row in &self.sorted_indices[..size] {
                let at = if batch_first { row * steps + t } else { t * batch + row } * features;
                padded[at..at + features].copy_from_slice(&self.data.data()[from..from + features]);
                from += features;
                lengths[row] += 1;
            }
        }
        Ok((Tensor::new(shape, padded)?, lengths))
    }

    /// `[sum of batch_sizes, I]`: time step by time step, the rows that are still running.
    pub fn data(&self) -> &Tensor<F> {
        &self.data
    }

    /// `[T]`: how many rows run at each time step.
    pub fn batch_sizes(&self) -> &[usize] {
        &self.batch_sizes
    }

    /// `[B]`: the row of the batch that stands at each place of the sorted order.
    pub fn sorted_indices(&self) -> &[usize] {
        &self.sorted_indices
    }

    /// `[B]`: the place in the sorted order of each row of the batch.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when memory cannot be had.
    pub fn unsorted_indices(&self) -> Result<Vec<usize>> {
        let mut unsorted = zeroed("unsorted_indices", &[self.sorted_indices.len()])?;
        for (place, &row) in self.sorted_indices.iter().enumerate() {
            unsorted[row] = place;
        }
        Ok(unsorted)
    }
}

/// The first numbers of a list, for an error that must stay readable, whatever its length.
fn first_of(numbers: &[usize]) -> String {
    const SHOWN: usize = 16;
    match numbers.get(SHOWN..) {
        None | Some([]) => format!("{numbers:?}"),
        Some(more) => format!("{:?} and {} more", &numbers[..SHOWN], more.len()),
    }
}
