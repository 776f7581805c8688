//! Where a model's bytes are: memory, or a file and the files beside it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::formats::input::Input;
use crate::formats::reader::Reader;
use crate::memory::zeroed;

use super::wire::{Wire, broken};

/// The bytes of a model.
pub(super) struct Store {
    input: Arc<Input>,
    origin: String,
}

/// A part of another file that holds a tensor's numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct External {
    pub(super) location: String,
    pub(super) offset: u64,
    /// The rest of the file if absent.
    pub(super) length: Option<u64>,
}

impl Store {
    pub(super) fn new(input: Arc<Input>) -> Self {
        Self { origin: input.origin(), input }
    }

    /// Returns the name of the file for errors.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// Calls a function with a reader at the start, and the number of bytes.
    pub(super) fn read<T>(&self, read: impl FnOnce(&mut Wire<'_>, u64) -> Result<T>) -> Result<T> {
        read(&mut Wire::new(Reader::new(&self.input), &self.origin), self.input.len())
    }

    /// Reads `expected` bytes that the tensor `name` has in another file.
    ///
    /// The file must lie in the model's folder or below it, also after links are followed.
    pub(super) fn external(&self, name: &str, external: &External, expected: usize) -> Result<Vec<u8>> {
        let External { location, offset, length } = external;
        let wrong = |why: String| broken(self.origin(), format!("tensor {name:?}: {why}"));
        let Some(path) = self.input.path() else {
            return Err(Error::Unsupported {
                what: format!("tensor {name:?} with external data"),
                why: format!(
                    "its numbers are in the file {location:?}; open the model by its path instead of its bytes"
                ),
            });
        };
        let relative = Path::new(location);
        // Windows writes separators that are part of a name elsewhere.
        let inside = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if location.is_empty() || !inside || location.contains('\\') {
            return Err(wrong(format!("external data at {location:?} is not in the model's folder")));
        }
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let full = folder.join(relative);
        let real = full.canonicalize().map_err(|source| io(&full, source))?;
        if !real.starts_with(folder.canonicalize().map_err(|source| io(folder, source))?) {
            return Err(wrong(format!("external data at {location:?} leads out of the model's folder")));
        }
        if !real.is_file() {
            return Err(wrong(format!("external data at {location:?} is not a file")));
        }
        let mut file = File::open(&real).map_err(|source| io(&full, source))?;
        let size = file.metadata().map_err(|source| io(&full, source))?.len();
        let available = size.saturating_sub(*offset);
        let length = length.unwrap_or(available);
        if length != expected as u64 || length > available {
            return Err(wrong(format!(
                "{expected} bytes are needed, and {location:?} of {size} bytes is said to have {length} at {offset}"
            )));
        }
        let mut bytes = zeroed(name, &[expected])?;
        file.seek(SeekFrom::Start(*offset)).map_err(|source| io(&full, source))?;
        file.read_exact(&mut bytes).map_err(|source| io(&full, source))?;
        Ok(bytes)
    }
}

fn io(path: &Path, source: std::io::Error) -> Error {
    Error::Io { path: path.to_owned(), action: "read", source }
}
