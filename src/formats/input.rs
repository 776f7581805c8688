//! The bytes of a file or of memory, read at any position and from several threads.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};

/// A file, or bytes in memory.
#[derive(Debug)]
pub(crate) struct Input {
    pub(super) content: Content,
    pub(super) len: u64,
}

#[derive(Debug)]
pub(super) enum Content {
    /// The lock is held for a seek and the read after it.
    File(PathBuf, Mutex<File>),
    Bytes(Vec<u8>),
}

/// Returns true for what has no end, such as `/dev/zero`, or is a terminal.
#[cfg(unix)]
fn is_device(kind: std::fs::FileType) -> bool {
    use std::os::unix::fs::FileTypeExt;
    kind.is_char_device() || kind.is_block_device()
}

#[cfg(not(unix))]
fn is_device(_: std::fs::FileType) -> bool {
    false
}

impl Input {
    /// Opens a file. One without random access, such as a pipe, is read completely.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read.
    pub(crate) fn open(path: &Path) -> Result<Arc<Self>> {
        let failed = |source| Error::Io { path: path.to_owned(), action: "read", source };
        let mut file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if is_device(about.file_type()) {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is a device, not a file")));
        }
        if !about.is_file() {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(failed)?;
            return Ok(Self::from_bytes(bytes));
        }
        Ok(Arc::new(Self { content: Content::File(path.to_owned(), Mutex::new(file)), len: about.len() }))
    }

    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Arc<Self> {
        let len = bytes.len() as u64;
        Arc::new(Self { content: Content::Bytes(bytes), len })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Returns the path of a file; `None` for bytes in memory.
    #[cfg(feature = "onnx")]
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.content {
            Content::File(path, _) => Some(path),
            Content::Bytes(_) => None,
        }
    }

    /// Returns the path, or "bytes", for messages.
    pub(crate) fn origin(&self) -> String {
        match &self.content {
            Content::File(path, _) => path.display().to_string(),
            Content::Bytes(_) => "bytes".to_owned(),
        }
    }

    /// Reads bytes that start at `at`, as many as are there and fit.
    pub(super) fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<usize> {
        match &self.content {
            Content::File(_, file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(at))?;
                file.read(out)
            }
            Content::Bytes(bytes) => {
                let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
                (&rest[..]).read(out)
            }
        }
    }

    /// Fills `out` with the bytes that start at `at`.
    pub(crate) fn read_exact_at(&self, mut at: u64, mut out: &mut [u8]) -> io::Result<()> {
        while !out.is_empty() {
            let count = self.read_at(at, out)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            (at, out) = (at + count as u64, &mut out[count..]);
        }
        Ok(())
    }

    /// Returns the error of bytes that could not be read.
    pub(crate) fn read_error(&self, source: io::Error) -> Error {
        let path = match &self.content {
            Content::File(path, _) => path.clone(),
            Content::Bytes(_) => PathBuf::from("bytes"),
        };
        Error::Io { path, action: "read", source }
    }
}
