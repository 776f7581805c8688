//! What a file says about a tensor before its numbers are read.

use safetensors::Dtype;

/// The number type and the shape of a tensor in a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
}
