//! Where a model's bytes are: memory, or a file and the files beside it.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::memory::zeroed;

use super::wire::{Wire, broken};

/// The bytes of a model.
pub(super) enum Store {
    Memory(Vec<u8>),
    File { path: PathBuf, origin: String, file: Mutex<File> },
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
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|source| io(path, source))?;
        Ok(Self::File { path: path.to_owned(), origin: path.display().to_string(), file: Mutex::new(file) })
    }

    /// Returns the name of the file for errors.
    pub(super) fn origin(&self) -> &str {
        match self {
            Self::Memory(_) => "bytes",
            Self::File { origin, .. } => origin,
        }
    }

    /// Calls a function with a reader at the start, and the number of bytes.
    pub(super) fn read<T>(&self, read: impl FnOnce(&mut Wire<'_>, u64) -> Result<T>) -> Result<T> {
        match self {
            Self::Memory(bytes) => {
                read(&mut Wire::new(Box::new(Cursor::new(bytes)), self.origin()), bytes.len() as u64)
            }
            Self::File { path, file, .. } => {
                let file: MutexGuard<'_, File> = file.lock().unwrap_or_else(PoisonError::into_inner);
                let length = file.metadata().map_err(|source| io(path, source))?.len();
                (&*file).seek(SeekFrom::Start(0)).map_err(|source| io(path, source))?;
                read(&mut Wire::new(Box::new(&*file), self.origin()), length)
            }
        }
    }

    /// Reads `expected` bytes that the tensor `name` has in another file.
    ///
    /// The file must lie in the model's folder or below it, also after links are followed.
    pub(super) fn external(&self, name: &str, external: &External, expected: usize) -> Result<Vec<u8>> {
        let External { location, offset, length } = external;
        let wrong = |why: String| broken(self.origin(), format!("tensor {name:?}: {why}"));
        let Self::File { path, .. } = self else {
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
