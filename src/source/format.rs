//! The formats of files, told by their content.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::formats::input::Input;

/// A format that describes layers, or one of tensors alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Named tensors: safetensors, PyTorch, NumPy.
    Tensors,
    Onnx,
    Keras,
}

/// What other formats begin with: the position, the bytes, and what a file of the kind is.
const OTHERS: [(usize, &[u8], &str); 3] =
    [(0, b"GGUF", "a GGUF file"), (4, b"TFL3", "a TensorFlow Lite model"), (0, b"lua\0", "a Torch7 file")];

/// A block of the user may come before it in HDF5, which Keras never writes.
const HDF5: &[u8] = b"\x89HDF\r\n\x1a\n";

impl Format {
    /// Returns the format of a file.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another known format; [`Error::Io`] if the file cannot be read.
    pub(crate) fn of(input: &Arc<Input>) -> Result<Self> {
        let mut start = [0; 16];
        let length = start.len().min(usize::try_from(input.len()).unwrap_or(start.len()));
        let start = &mut start[..length];
        input.read_exact_at(0, start).map_err(|error| input.read_error(error))?;
        let start = &*start;
        let rejected = |what: &str, why: &str| {
            let what = if what.is_empty() { input.origin() } else { format!("{}, {what},", input.origin()) };
            Err(Error::Unsupported { what, why: why.to_owned() })
        };
        if start.is_empty() {
            return rejected("", "the file is empty");
        }
        if start.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
            return rejected("", "it begins with text, as no model does");
        }
        for (at, mark, what) in OTHERS {
            if start.get(at..).is_some_and(|rest| rest.starts_with(mark)) {
                return rejected(what, "its layers are in a form of its own; export the model as ONNX");
            }
        }
        Ok(match start {
            _ if start.starts_with(HDF5) || is_keras_zip(input) => Self::Keras,
            // The size of a header, and the header, which is an object of JSON.
            _ if start.get(8) == Some(&b'{') => Self::Tensors,
            // The first field of a protocol buffer, of ModelProto's numbers: a number, or a length and bytes.
            [tag, ..] if matches!(tag & 7, 0 | 2) && (8..0x80).contains(tag) && !start.starts_with(b"PK") => Self::Onnx,
            _ => Self::Tensors,
        })
    }
}

#[cfg(feature = "keras")]
fn is_keras_zip(input: &Arc<Input>) -> bool {
    crate::formats::keras::KerasFile::is_keras_zip(input)
}

#[cfg(not(feature = "keras"))]
fn is_keras_zip(_: &Arc<Input>) -> bool {
    false
}
