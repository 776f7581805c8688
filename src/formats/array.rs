//! A tensor of a file as it is stored.

#[cfg(any(feature = "onnx", feature = "keras"))]
use half::{bf16, f16};
use safetensors::Dtype;

#[cfg(any(feature = "onnx", feature = "keras"))]
use crate::error::{Error, Result};
#[cfg(any(feature = "onnx", feature = "keras"))]
use crate::memory::collected;
#[cfg(any(feature = "onnx", feature = "keras"))]
use crate::real::Real;

/// A tensor: numbers in little-endian order, the last dimension fastest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

#[cfg(any(feature = "onnx", feature = "keras"))]
impl Array {
    /// Returns the numbers, each the nearest value of `F`. `name` is that of the tensor in errors.
    pub(crate) fn numbers<F: Real>(&self, name: &str) -> Result<Vec<F>> {
        match self.dtype {
            Dtype::F32 => self.converted(name, |b| f32::from_le_bytes(b).into()),
            Dtype::F64 => self.converted(name, f64::from_le_bytes),
            Dtype::F16 => self.converted(name, |b| f16::from_le_bytes(b).into()),
            Dtype::BF16 => self.converted(name, |b| bf16::from_le_bytes(b).into()),
            other => Err(Error::Dtype { name: name.to_owned(), got: other.to_string(), advice: None }),
        }
    }

    fn converted<F: Real, const N: usize>(&self, name: &str, number: impl Fn([u8; N]) -> f64) -> Result<Vec<F>> {
        let numbers = self.bytes.as_chunks::<N>().0;
        collected(name, numbers.len(), numbers.iter().map(|&bytes| F::from_f64(number(bytes))))
    }
}
