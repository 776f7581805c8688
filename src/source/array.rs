//! A tensor of a file as it is stored.
use safetensors::Dtype;
/// A tensor: numbers in little-endian order, the last dimension fastest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}
