//! A dense host array whose shape is checked once, when it is made.

mod elements;
#[cfg(feature = "ndarray")]
mod ndarray;
mod view;

use std::fmt;
use std::ops::{Index, IndexMut, Range};

pub use elements::IntoElements;
pub use view::TensorView;

use crate::error::{Error, Result};
use crate::memory::{element_count, zeroed};
use crate::real::Real;

/// A dense, row-major array on the host: a shape (slowest dimension first) and its elements.
///
/// ```
/// use wgpu_rnn::Tensor;
///
/// let x = Tensor::new([2, 3], vec![0.0_f32, 1.0, 2.0, 3.0, 4.0, 5.0])?;
/// assert_eq!(x[[1, 0]], 3.0);
/// assert_eq!(x.row(&[1]), Some(&[3.0, 4.0, 5.0][..]));
/// assert_eq!(x.get(&[2, 0]), None);
/// assert!(Tensor::new([2, 3], vec![0.0_f32; 5]).is_err());
///
/// // The first dimension, as x[1] in PyTorch: of an output [T, B, H], h of all rows at time 1.
/// assert_eq!(x.select(1).unwrap().data(), [3.0, 4.0, 5.0]);
/// assert_eq!(x.reshape([3, 2])?.shape(), [3, 2]);
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
///
/// `clone` ends the process where memory is short, as that of a `Vec` does; [`TensorView::to_tensor`] and
/// [`cast`](Self::cast) return an error.
#[derive(Clone, PartialEq)]
pub struct Tensor<F = f32> {
    shape: Vec<usize>,
    data: Vec<F>,
}

impl<F: Real> Tensor<F> {
    /// Makes an array of `shape` over `data`, last dimension fastest. A `Vec` is taken over without a copy, slices and
    /// arrays are copied; [`TensorView::new`] borrows a slice instead.
    ///
    /// # Errors
    /// [`Error::Length`] when the shape does not hold exactly as many elements as `data`; [`Error::TooLarge`] when
    /// memory for a copy cannot be had.
    pub fn new(shape: impl Into<Vec<usize>>, data: impl IntoElements<F>) -> Result<Self> {
        let (shape, data) = (shape.into(), data.into_elements("tensor")?);
        check_length::<F>("tensor", &shape, data.len())?;
        Ok(Self { shape, data })
    }

    /// Makes an array of zeros.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when memory for it cannot be had.
    pub fn zeros(shape: impl Into<Vec<usize>>) -> Result<Self> {
        let shape = shape.into();
        let data = zeroed("tensor", &shape)?;
        Ok(Self { shape, data })
    }

    /// Returns the sizes of the dimensions, slowest first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the elements, last dimension fastest.
    pub fn data(&self) -> &[F] {
        &self.data
    }

    /// Returns the elements to change in place.
    pub fn data_mut(&mut self) -> &mut [F] {
        &mut self.data
    }

    /// Returns the elements, without a copy.
    pub fn into_data(self) -> Vec<F> {
        self.data
    }

    /// Converts to another number type, each element to the nearest value; beyond its range, to infinity.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when memory for it cannot be had.
    pub fn cast<G: Real>(&self) -> Result<Tensor<G>> {
        self.map(|value| G::from_f64(value.to_f64()))
    }

    /// Applies `convert` to every element.
    pub(crate) fn map<G: Real>(&self, convert: impl Fn(F) -> G) -> Result<Tensor<G>> {
        let data = crate::memory::collected("tensor", self.data.len(), self.data.iter().map(|&value| convert(value)))?;
        Ok(Tensor { shape: self.shape.clone(), data })
    }

    /// Gives the array another shape for the same elements, without a copy.
    ///
    /// # Errors
    /// [`Error::Length`] when that shape holds another number of elements. [`view`](Self::view) borrows instead.
    pub fn reshape(self, shape: impl Into<Vec<usize>>) -> Result<Self> {
        let shape = shape.into();
        check_length::<F>("reshape", &shape, self.data.len())?;
        Ok(Self { shape, data: self.data })
    }

    /// Returns the element at `index`; `None` outside the array or with the wrong number of dimensions.
    pub fn get(&self, index: &[usize]) -> Option<F> {
        position(&self.shape, index).map(|at| self.data[at])
    }

    /// Returns the elements along the last dimension at an `index` of the others: of an output `[T, B, H]`, `row(&[t,
    /// b])` is h of row b at time t. `None` outside the array or with the wrong number of dimensions.
    pub fn row(&self, index: &[usize]) -> Option<&[F]> {
        self.data.get(row_range(&self.shape, index)?)
    }

    /// [`row`](Self::row) to change in place.
    pub fn row_mut(&mut self, index: &[usize]) -> Option<&mut [F]> {
        self.data.get_mut(row_range(&self.shape, index)?)
    }

    /// Borrows the array at `index` of the first dimension, `x[index]` in PyTorch: of an output `[T, B, H]`,
    /// `select(t)` is `[B, H]` at time t. `None` outside the array, or of an array without dimensions.
    pub fn select(&self, index: usize) -> Option<TensorView<'_, F>> {
        let range = select_range(&self.shape, index)?;
        Some(TensorView::unchecked(self.shape[1..].to_vec(), self.data.get(range)?))
    }

    /// Borrows the whole array.
    pub fn as_view(&self) -> TensorView<'_, F> {
        TensorView::unchecked(self.shape.clone(), &self.data)
    }

    /// Borrows the same elements under another shape.
    ///
    /// # Errors
    /// [`Error::Length`] when that shape holds another number of elements.
    pub fn view(&self, shape: impl Into<Vec<usize>>) -> Result<TensorView<'_, F>> {
        let shape = shape.into();
        check_length::<F>("view", &shape, self.data.len())?;
        Ok(TensorView::unchecked(shape, &self.data))
    }
}

/// One dimension with these elements.
impl<F> From<Vec<F>> for Tensor<F> {
    fn from(data: Vec<F>) -> Self {
        Self { shape: vec![data.len()], data }
    }
}

/// The element at an index with one number for each dimension.
///
/// # Panics
/// Outside the array, or with the wrong number of dimensions; [`Tensor::get`] returns `None` there.
impl<F: Real, const N: usize> Index<[usize; N]> for Tensor<F> {
    type Output = F;

    fn index(&self, index: [usize; N]) -> &F {
        &self.data[checked_position(&self.shape, &index)]
    }
}

/// [`Index`] to change in place.
///
/// # Panics
/// As [`Index`].
impl<F: Real, const N: usize> IndexMut<[usize; N]> for Tensor<F> {
    fn index_mut(&mut self, index: [usize; N]) -> &mut F {
        &mut self.data[checked_position(&self.shape, &index)]
    }
}

impl<F: Real> PartialEq<TensorView<'_, F>> for Tensor<F> {
    fn eq(&self, other: &TensorView<'_, F>) -> bool {
        self.shape() == other.shape() && self.data() == other.data()
    }
}

/// The shape and the first elements.
impl<F: fmt::Debug> fmt::Debug for Tensor<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug("Tensor", &self.shape, &self.data, f)
    }
}

/// How many elements `Debug` prints.
const PRINTED: usize = 8;

fn debug<F: fmt::Debug>(name: &str, shape: &[usize], data: &[F], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{name} {{ shape: {shape:?}, data: [")?;
    for (i, value) in data.iter().take(PRINTED).enumerate() {
        write!(f, "{}{value:?}", if i == 0 { "" } else { ", " })?;
    }
    match data.len().saturating_sub(PRINTED) {
        0 => f.write_str("] }"),
        more => write!(f, ", … {more} more] }}"),
    }
}

/// Returns the place of the element at `index` in an array's data; `None` outside it or with the wrong number of dimensions.
fn position(shape: &[usize], index: &[usize]) -> Option<usize> {
    if index.len() != shape.len() || index.iter().zip(shape).any(|(i, size)| i >= size) {
        return None;
    }
    Some(index.iter().zip(shape).fold(0, |at, (i, size)| at * size + i))
}

/// [`position`] for an indexing operator.
#[expect(clippy::panic, reason = "indexing panics outside an array, as documented; `get` does not")]
fn checked_position(shape: &[usize], index: &[usize]) -> usize {
    position(shape, index).unwrap_or_else(|| panic!("index {index:?} is outside an array of shape {shape:?}"))
}

/// Returns the place of the elements along the last dimension at an index of the others.
fn row_range(shape: &[usize], index: &[usize]) -> Option<Range<usize>> {
    let (&size, others) = shape.split_last()?;
    let start = position(others, index)? * size;
    Some(start..start + size)
}

/// Returns the place of the elements at an index of the first dimension.
fn select_range(shape: &[usize], index: usize) -> Option<Range<usize>> {
    let (&count, inner) = shape.split_first()?;
    let size: usize = inner.iter().product();
    (index < count).then(|| index * size..(index + 1) * size)
}

/// Checks that `shape` holds exactly `got` elements.
fn check_length<F>(what: &str, shape: &[usize], got: usize) -> Result<()> {
    let expected = element_count::<F>(what, shape)?;
    if expected == got {
        return Ok(());
    }
    Err(Error::Length { what: what.to_owned(), shape: shape.to_vec(), expected, got })
}
