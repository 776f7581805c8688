//! The formats of files: each becomes tensors by name.

#[cfg(any(feature = "npz", feature = "pytorch"))]
mod archive;
#[cfg(any(feature = "npz", feature = "pytorch"))]
pub(crate) mod array;
#[cfg(any(feature = "npz", feature = "pytorch"))]
pub(crate) mod container;
pub(crate) mod entry;
pub(crate) mod input;
#[cfg(feature = "npz")]
pub(crate) mod npz;
#[cfg(feature = "pytorch")]
pub(crate) mod pytorch;
#[cfg(any(feature = "npz", feature = "pytorch"))]
pub(crate) mod reader;
pub(crate) mod safetensors;
#[cfg(any(feature = "npz", feature = "pytorch"))]
mod strided;
#[cfg(all(test, feature = "npz", feature = "pytorch"))]
mod tests;
