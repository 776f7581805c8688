//! Positions in an input, and what goes wrong there.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

#[cfg(any(feature = "npz", feature = "pytorch"))]
use crate::error::Error;
#[cfg(any(feature = "npz", feature = "pytorch"))]
use crate::formats::input::Content;
use crate::formats::input::Input;
#[cfg(any(feature = "npz", feature = "pytorch"))]
use crate::memory::zeroed;

#[cfg(any(feature = "npz", feature = "pytorch"))]
impl Input {
    /// Reads exactly `len` bytes that start at `at`.
    pub(crate) fn bytes(self: &Arc<Self>, what: &str, at: u64, len: usize) -> io::Result<Vec<u8>> {
        // Asked before memory is: a length that a file claims may be anything.
        if at.checked_add(len as u64).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = zeroed(what, &[len]).map_err(io::Error::other)?;
        Reader { at, ..Reader::new(self) }.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Returns the error of a failed read: the file is broken, needs something that is not there, or the system could
    /// not read it.
    pub(crate) fn error(&self, format: &'static str, error: io::Error) -> Error {
        let origin = self.origin();
        match (error.kind(), &self.content) {
            (io::ErrorKind::UnexpectedEof, _) => Error::Format { origin, format, why: "it ends too early".to_owned() },
            (io::ErrorKind::Unsupported, _) => Error::Unsupported { what: origin, why: error.to_string() },
            (io::ErrorKind::Other, _) if error.get_ref().is_some_and(|inner| inner.is::<Error>()) => {
                match error.into_inner().map(|inner| inner.downcast::<Error>()) {
                    Some(Ok(inner)) => *inner,
                    _ => Error::Format { origin, format, why: "unreadable".to_owned() },
                }
            }
            (io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput, _) | (_, Content::Bytes(_)) => {
                Error::Format { origin, format, why: error.to_string() }
            }
            (_, Content::File(path, _)) => Error::Io { path: path.clone(), action: "read", source: error },
        }
    }
}

/// Returns the error of a file that does not follow its format.
pub(crate) fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// A position in an [`Input`], with a small buffer for short reads.
#[derive(Debug)]
pub(crate) struct Reader {
    input: Arc<Input>,
    at: u64,
    buffer: Vec<u8>,
    /// Where the buffer's first byte is in the input.
    buffered_at: u64,
}

impl Reader {
    const BUFFER: usize = 4096;

    pub(crate) fn new(input: &Arc<Input>) -> Self {
        Self { input: Arc::clone(input), at: 0, buffer: Vec::new(), buffered_at: 0 }
    }

    #[cfg(feature = "pytorch")]
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    /// Moves the position forward, at most to the end of the input.
    #[cfg(feature = "pytorch")]
    pub(crate) fn skip(&mut self, count: u64) -> io::Result<()> {
        match self.at.checked_add(count) {
            Some(at) if at <= self.input.len => self.at = at,
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }

    /// Returns the buffered bytes from the position on.
    fn buffered(&self) -> &[u8] {
        let start = self.at.checked_sub(self.buffered_at).and_then(|start| usize::try_from(start).ok());
        start.and_then(|start| self.buffer.get(start..)).unwrap_or_default()
    }
}

/// A reader at the same position, with an empty buffer.
impl Clone for Reader {
    fn clone(&self) -> Self {
        Self { at: self.at, ..Self::new(&self.input) }
    }
}

impl Read for Reader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.len() >= Self::BUFFER {
            let count = self.input.read_at(self.at, out)?;
            self.at += count as u64;
            return Ok(count);
        }
        if self.buffered().is_empty() {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(Self::BUFFER, 0);
            let count = self.input.read_at(self.at, &mut buffer)?;
            buffer.truncate(count);
            (self.buffer, self.buffered_at) = (buffer, self.at);
        }
        let count = self.buffered().read(out)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.input.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| invalid("a position outside of the file"))?;
        Ok(self.at)
    }
}
