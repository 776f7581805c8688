//! A borrowed array.

use std::fmt;
use std::ops::Index;

use crate::error::Result;
use crate::memory;
use crate::real::Real;
use crate::tensor::{Tensor, check_length, checked_position, debug, position, row_range, select_range};

#[cfg(doc)]
use crate::error::Error;

/// A borrowed array: a shape over somebody else's elements.
///
/// ```
/// use wgpu_rnn::TensorView;
///
/// let samples = [0.0_f32, 1.0, 2.0, 3.0, 4.0, 5.0];
/// let x = TensorView::new([3, 2], &samples)?; // no copy
/// assert_eq!(x[[2, 1]], 5.0);
/// assert_eq!(x.select(1).unwrap().data(), [2.0, 3.0]);
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct TensorView<'a, F = f32> {
    shape: Vec<usize>,
    data: &'a [F],
}

impl<'a, F: Real> TensorView<'a, F> {
    /// Borrows `data`, last dimension fastest, as an array of `shape`.
    ///
    /// # Errors
    /// [`Error::Length`] if the shape does not hold exactly `data.len()` elements.
    pub fn new(shape: impl Into<Vec<usize>>, data: &'a [F]) -> Result<Self> {
        let shape = shape.into();
        check_length::<F>("view", &shape, data.len())?;
        Ok(Self { shape, data })
    }

    /// Creates a view; `shape` must hold exactly the elements of `data`.
    pub(super) fn unchecked(shape: Vec<usize>, data: &'a [F]) -> Self {
        Self { shape, data }
    }

    /// Returns the sizes of the dimensions, slowest first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the elements, last dimension fastest.
    pub fn data(&self) -> &'a [F] {
        self.data
    }

    /// Returns the element at `index`; `None` outside the array or with the wrong number of dimensions.
    pub fn get(&self, index: &[usize]) -> Option<F> {
        position(&self.shape, index).map(|at| self.data[at])
    }

    /// Returns the elements along the last dimension at an `index` of the others, like [`Tensor::row`].
    pub fn row(&self, index: &[usize]) -> Option<&'a [F]> {
        self.data.get(row_range(&self.shape, index)?)
    }

    /// Borrows the array at `index` of the first dimension, like [`Tensor::select`].
    pub fn select(&self, index: usize) -> Option<TensorView<'a, F>> {
        let range = select_range(&self.shape, index)?;
        Some(Self::unchecked(self.shape[1..].to_vec(), self.data.get(range)?))
    }

    /// Copies the elements to a new array of the same shape.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if memory for it cannot be allocated.
    pub fn to_tensor(&self) -> Result<Tensor<F>> {
        Ok(Tensor { shape: self.shape.clone(), data: memory::copied("tensor", self.data)? })
    }
}

/// Borrows the whole array, like [`Tensor::as_view`].
impl<'a, F: Real> From<&'a Tensor<F>> for TensorView<'a, F> {
    fn from(tensor: &'a Tensor<F>) -> Self {
        tensor.as_view()
    }
}

/// Returns the element at an index with one number per dimension.
///
/// # Panics
/// Panics outside the array, or with the wrong number of dimensions; [`TensorView::get`] returns `None` instead.
impl<F: Real, const N: usize> Index<[usize; N]> for TensorView<'_, F> {
    type Output = F;

    fn index(&self, index: [usize; N]) -> &F {
        &self.data[checked_position(&self.shape, &index)]
    }
}

impl<F: Real> PartialEq<Tensor<F>> for TensorView<'_, F> {
    fn eq(&self, other: &Tensor<F>) -> bool {
        other == self
    }
}

/// Writes the shape and the first elements.
impl<F: fmt::Debug> fmt::Debug for TensorView<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug("TensorView", &self.shape, self.data, f)
    }
}
