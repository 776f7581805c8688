//! The inputs of a model: any array on the host whose elements are contiguous.

use crate::error::Result;
use crate::real::Real;
use crate::tensor::{Tensor, TensorView};

/// An array on the host that calls read without a copy: [`Tensor`], [`TensorView`] (a shape over a slice) and, with the
/// feature `ndarray`, `ndarray`'s arrays and views in standard layout.
///
/// ```
/// use wgpu_rnn::{Device, Gru, GruConfig, TensorView};
///
/// let gru = Gru::random(GruConfig::new(2, 3), 0)?.to(&Device::cpu())?;
/// let samples: [f32; 8] = [0.5; 8];
/// let (output, _) = gru.forward(&TensorView::new([4, 2], &samples)?, None)?; // [T, I]
/// assert_eq!(output.shape(), [4, 3]);
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
#[diagnostic::on_unimplemented(note = "give a Vec or slice a shape: TensorView::new([t, b, i], &data)?")]
pub trait AsView<F: Real = f32> {
    /// Returns a view of the array: a shape over its elements, last dimension fastest.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) if the elements lie in another order, as in a transposed
    /// array.
    fn try_as_view(&self) -> Result<TensorView<'_, F>>;
}

impl<F: Real> AsView<F> for Tensor<F> {
    fn try_as_view(&self) -> Result<TensorView<'_, F>> {
        Ok(self.as_view())
    }
}

impl<F: Real> AsView<F> for TensorView<'_, F> {
    fn try_as_view(&self) -> Result<TensorView<'_, F>> {
        Ok(self.clone())
    }
}

#[cfg(feature = "ndarray")]
impl<F: Real, S: ndarray::Data<Elem = F>, D: ndarray::Dimension> AsView<F> for ndarray::ArrayBase<S, D> {
    fn try_as_view(&self) -> Result<TensorView<'_, F>> {
        let elements = self.as_slice().ok_or_else(|| crate::error::Error::Unsupported {
            what: "an ndarray array that is not in standard layout".to_owned(),
            why: "its elements do not lie in the order of its indices; `as_standard_layout` gives one that does"
                .to_owned(),
        })?;
        TensorView::new(self.shape(), elements)
    }
}
