//! A dense host array whose shape is checked once, when it is made.

use std::fmt;
use std::ops::Range;

use crate::shortened::write_array;
use crate::{Error, Real, Result};

/// A dense, row-major array on the host: a shape (slowest dimension first) and its elements.
///
/// ```
/// use wgpu_rnn::Tensor;
///
/// let x = Tensor::new([2, 3], vec![0.0_f32, 1.0, 2.0, 3.0, 4.0, 5.0])?;
/// assert_eq!(x.get(&[1, 0]), Some(3.0));
/// assert_eq!(x.row(&[1]), Some(&[3.0, 4.0, 5.0][..]));
/// assert!(Tensor::new([2, 3], vec![0.0_f32; 5]).is_err());
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Tensor<F = f32> {
    shape: Vec<usize>,
    data: Vec<F>,
}

impl<F: Real> Tensor<F> {
    /// An array of `shape` over `data`, last dimension fastest.
    ///
    /// # Errors
    /// [`Error::Length`] when the shape does not hold exactly `data.len()` elements.
    pub fn new(shape: impl Into<Vec<usize>>, data: impl Into<Vec<F>>) -> Result<Self> {
        let (shape, data) = (shape.into(), data.into());
        let expected = element_count::<F>("tensor", &shape)?;
        if expected != data.len() {
            return Err(Error::Length { what: "tensor".to_owned(), shape, expected, got: data.len() });
        }
        Ok(Self { shape, data })
    }

    /// An array of zeros.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when memory for it cannot be had.
    pub fn zeros(shape: impl Into<Vec<usize>>) -> Result<Self> {
        let shape = shape.into();
        let data = zeroed("tensor", &shape)?;
        Ok(Self { shape, data })
    }

    /// The sizes of the dimensions, slowest first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, last dimension fastest.
    pub fn data(&self) -> &[F] {
        &self.data
    }

    /// The elements to change in place.
    pub fn data_mut(&mut self) -> &mut [F] {
        &mut self.data
    }

    /// The elements, without a copy.
    pub fn into_data(self) -> Vec<F> {
        self.data
    }

    /// The same array in another number type, each element the nearest value.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when memory for it cannot be had.
    pub fn cast<G: Real>(&self) -> Result<Tensor<G>> {
        let mut data = zeroed("tensor", &self.shape)?;
        for (to, from) in data.iter_mut().zip(&self.data) {
            *to = G::from_f64(from.to_f64());
        }
        Ok(Tensor { shape: self.shape.clone(), data })
    }

    /// The element at `index`; `None` outside the array or with the wrong number of dimensions.
    pub fn get(&self, index: &[usize]) -> Option<F> {
        Some(self.data[position(&self.shape, index)?])
    }

    /// The elements along the last dimension at an `index` of the others: of an output `[T, B, H]`, `row(&[t, b])` is h of row b at
    /// time t. `None` outside the array or with the wrong number of dimensions.
    pub fn row(&self, index: &[usize]) -> Option<&[F]> {
        self.data.get(row_range(&self.shape, index)?)
    }

    /// [`row`](Self::row) to change in place.
    pub fn row_mut(&mut self, index: &[usize]) -> Option<&mut [F]> {
        self.data.get_mut(row_range(&self.shape, index)?)
    }

    /// The whole array, borrowed.
    pub fn as_view(&self) -> TensorView<'_, F> {
        TensorView { shape: self.shape.clone(), data: &self.data }
    }

    /// The same elements under another shape, borrowed.
    ///
    /// # Errors
    /// [`Error::Length`] when that shape holds another number of elements.
    pub fn view(&self, shape: impl Into<Vec<usize>>) -> Result<TensorView<'_, F>> {
        TensorView::new(shape, &self.data)
    }
}

/// A borrowed array: a shape over somebody else's elements.
#[derive(Clone, PartialEq)]
pub struct TensorView<'a, F = f32> {
    shape: Vec<usize>,
    data: &'a [F],
}

impl<'a, F: Real> TensorView<'a, F> {
    /// A shape over `data`, last dimension fastest.
    ///
    /// # Errors
    /// [`Error::Length`] when the shape does not hold exactly `data.len()` elements.
    pub fn new(shape: impl Into<Vec<usize>>, data: &'a [F]) -> Result<Self> {
        let shape = shape.into();
        let expected = element_count::<F>("view", &shape)?;
        if expected != data.len() {
            return Err(Error::Length { what: "view".to_owned(), shape, expected, got: data.len() });
        }
        Ok(Self { shape, data })
    }

    /// The sizes of the dimensions, slowest first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, last dimension fastest.
    pub fn data(&self) -> &'a [F] {
        self.data
    }

    /// The element at `index`; `None` outside the array or with the wrong number of dimensions.
    pub fn get(&self, index: &[usize]) -> Option<F> {
        Some(self.data[position(&self.shape, index)?])
    }

    /// The elements along the last dimension at an `index` of the others, as [`Tensor::row`].
    pub fn row(&self, index: &[usize]) -> Option<&'a [F]> {
        self.data.get(row_range(&self.shape, index)?)
    }

    /// An array of its own with these elements, under this shape.
    pub fn to_tensor(&self) -> Tensor<F> {
        Tensor { shape: self.shape.clone(), data: self.data.to_vec() }
    }
}

/// Shape and elements, of a long array the first few.
impl<F: fmt::Debug> fmt::Debug for Tensor<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_array(f, "Tensor", &self.shape, &self.data)
    }
}

/// Shape and elements, of a long array the first few.
impl<F: fmt::Debug> fmt::Debug for TensorView<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_array(f, "TensorView", &self.shape, self.data)
    }
}

/// Where the element at `index` of an array lies; `None` outside it or with the wrong number of dimensions.
fn position(shape: &[usize], index: &[usize]) -> Option<usize> {
    if index.len() != shape.len() || index.iter().zip(shape).any(|(i, size)| i >= size) {
        return None;
    }
    Some(index.iter().zip(shape).fold(0, |at, (i, size)| at * size + i))
}

/// Where the elements along the last dimension lie at an index of the others.
fn row_range(shape: &[usize], index: &[usize]) -> Option<Range<usize>> {
    let (&size, others) = shape.split_last()?;
    let start = position(others, index)? * size;
    Some(start..start + size)
}

/// The number of elements of `shape`, if that many can be addressed.
pub(crate) fn element_count<F>(what: &str, shape: &[usize]) -> Result<usize> {
    let too_large = || Error::TooLarge { what: what.to_owned(), shape: shape.to_vec(), bytes_each: size_of::<F>() };
    let count = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d)).ok_or_else(too_large)?;
    let bytes = count.checked_mul(size_of::<F>()).ok_or_else(too_large)?;
    if isize::try_from(bytes).is_err() { Err(too_large()) } else { Ok(count) }
}

/// Zeros for `shape`; a size that the allocator refuses is an error here, not an abort.
pub(crate) fn zeroed<F: Real>(what: &str, shape: &[usize]) -> Result<Vec<F>> {
    let count = element_count::<F>(what, shape)?;
    let mut data = Vec::new();
    data.try_reserve_exact(count).map_err(|_| Error::TooLarge {
        what: what.to_owned(),
        shape: shape.to_vec(),
        bytes_each: size_of::<F>(),
    })?;
    data.resize(count, F::zeroed());
    Ok(data)
}
