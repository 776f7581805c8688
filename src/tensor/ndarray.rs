//! To and from `ndarray` (cargo feature `ndarray`).
//!
//! Conversions that never copy are `From`; those that may need a copy, and so memory, are `TryFrom`.

use ndarray::{ArrayBase, ArrayD, ArrayViewD, Data, Dimension, IxDyn, OwnedRepr};

use crate::error::{Error, Result};
use crate::memory;
use crate::real::Real;
use crate::tensor::{Tensor, TensorView};

/// Takes the elements over, without a copy.
impl<F: Real> From<Tensor<F>> for ArrayD<F> {
    #[expect(clippy::expect_used, reason = "a tensor's shape was checked by ndarray's own rule when it was made")]
    fn from(tensor: Tensor<F>) -> Self {
        Self::from_shape_vec(IxDyn(&tensor.shape), tensor.data).expect("a tensor's shape holds its elements")
    }
}

/// Borrows the elements.
impl<'a, F: Real> From<&TensorView<'a, F>> for ArrayViewD<'a, F> {
    #[expect(clippy::expect_used, reason = "a view's shape was checked by ndarray's own rule when it was made")]
    fn from(view: &TensorView<'a, F>) -> Self {
        Self::from_shape(IxDyn(view.shape()), view.data()).expect("a view's shape holds its elements")
    }
}

/// Borrows the elements.
impl<'a, F: Real> From<&'a Tensor<F>> for ArrayViewD<'a, F> {
    fn from(tensor: &'a Tensor<F>) -> Self {
        Self::from(&tensor.as_view())
    }
}

/// Takes the elements over: without a copy where they lie in row-major order, otherwise by one.
///
/// # Errors
/// [`Error::TooLarge`] when memory for the copy cannot be had.
impl<F: Real, D: Dimension> TryFrom<ArrayBase<OwnedRepr<F>, D>> for Tensor<F> {
    type Error = Error;

    fn try_from(array: ArrayBase<OwnedRepr<F>, D>) -> Result<Self> {
        if !array.is_standard_layout() {
            return copy(&array);
        }
        let (shape, count) = (array.shape().to_vec(), array.len());
        match array.into_raw_vec_and_offset() {
            (data, None | Some(0)) if data.len() == count => Ok(Self { shape, data }),
            // A part of a longer vector.
            (data, offset) => {
                let start = offset.unwrap_or(0);
                let part = data.get(start..start + count).unwrap_or_default();
                Tensor::new(shape, part)
            }
        }
    }
}

/// Copies the elements of any array, owned or borrowed, in any order.
///
/// # Errors
/// [`Error::TooLarge`] when memory for the copy cannot be had.
impl<F: Real, D: Dimension> TryFrom<ndarray::ArrayView<'_, F, D>> for Tensor<F> {
    type Error = Error;

    fn try_from(array: ndarray::ArrayView<'_, F, D>) -> Result<Self> {
        copy(&array)
    }
}

/// Borrows the elements of an array in row-major order.
///
/// # Errors
/// [`Error::Unsupported`] for any other order, such as that of a transposed array or of every second row.
impl<'a, F: Real, S: Data<Elem = F>, D: Dimension> TryFrom<&'a ArrayBase<S, D>> for TensorView<'a, F> {
    type Error = Error;

    fn try_from(array: &'a ArrayBase<S, D>) -> Result<Self> {
        match array.as_slice() {
            Some(data) => Self::new(array.shape(), data),
            None => Err(Error::Unsupported {
                what: "an array that is not in row-major order as a view".to_owned(),
                why: "copy it first, by Tensor::try_from(array.view()) or array.as_standard_layout()".to_owned(),
            }),
        }
    }
}

fn copy<F: Real, S: Data<Elem = F>, D: Dimension>(array: &ArrayBase<S, D>) -> Result<Tensor<F>> {
    let data = memory::collected("tensor", array.len(), array.iter().copied())?;
    Tensor::new(array.shape(), data)
}
