//! The formats of files: what is in them, in their own terms.

#[cfg(any(feature = "npz", feature = "pytorch"))]
mod archive;
#[cfg(any(feature = "npz", feature = "pytorch", feature = "onnx", feature = "keras"))]
pub(crate) mod array;
#[cfg(any(feature = "npz", feature = "pytorch"))]
pub(crate) mod container;
pub(crate) mod entry;
pub(crate) mod input;
#[cfg(feature = "keras")]
pub(crate) mod keras;
#[cfg(feature = "npz")]
pub(crate) mod npz;
#[cfg(feature = "onnx")]
pub(crate) mod onnx;
#[cfg(feature = "pytorch")]
pub(crate) mod pytorch;
#[cfg(any(feature = "npz", feature = "pytorch", feature = "onnx", feature = "keras"))]
pub(crate) mod reader;
pub(crate) mod safetensors;
#[cfg(any(feature = "npz", feature = "pytorch"))]
mod strided;
#[cfg(all(test, feature = "npz", feature = "pytorch"))]
mod tests;
