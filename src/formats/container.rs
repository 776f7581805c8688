//! Which files are bags of named tensors, by their content.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use crate::error::Result;
use crate::formats::archive;
use crate::formats::input::Input;
#[cfg(feature = "npz")]
use crate::formats::npz;
#[cfg(feature = "pytorch")]
use crate::formats::pytorch;
use crate::formats::reader::Reader;

/// A format of this folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    /// [`PyTorchFile`](crate::formats::pytorch::PyTorchFile), or what it rejects by name, such as TorchScript.
    #[cfg(feature = "pytorch")]
    PyTorch,
    /// [`NpzFile`](crate::formats::npz::NpzFile): an `.npz` or an `.npy`.
    #[cfg(feature = "npz")]
    NumPy,
}

impl Container {
    /// Returns the format of a file, or `None` if it is none of these, whatever its name.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the file cannot be read.
    pub(crate) fn of(input: &Arc<Input>) -> Result<Option<Self>> {
        Self::find(Reader::new(input)).map_err(|error| input.read_error(error))
    }

    fn find(mut reader: Reader) -> io::Result<Option<Self>> {
        /// Enough for every mark that a format has at its start.
        const START: u64 = 512;
        let mut start = Vec::new();
        reader.by_ref().take(START).read_to_end(&mut start)?;
        #[cfg(feature = "npz")]
        if npz::is_npy(&start) {
            return Ok(Some(Self::NumPy));
        }
        #[cfg(feature = "pytorch")]
        if pytorch::is_legacy(&start) || pytorch::is_tar(&start) {
            return Ok(Some(Self::PyTorch));
        }
        if !is_zip(&start) {
            return Ok(None);
        }
        reader.seek(SeekFrom::Start(0))?;
        match archive::directory(reader) {
            Ok(zip) => Ok(Self::of_names(&archive::names(&zip).map(|(_, name)| name).collect::<Vec<_>>())),
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the format of a zip archive by the names of its entries.
    fn of_names(names: &[String]) -> Option<Self> {
        #[cfg(feature = "pytorch")]
        if pytorch::is_archive(names) {
            return Some(Self::PyTorch);
        }
        #[cfg(feature = "npz")]
        if !names.is_empty() && names.iter().all(|name| name.ends_with(npz::SUFFIX)) {
            return Some(Self::NumPy);
        }
        None
    }
}

/// Returns true for the start of a zip archive, an empty one included.
pub(crate) fn is_zip(start: &[u8]) -> bool {
    start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06")
}
