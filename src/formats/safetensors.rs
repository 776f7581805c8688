//! Files of the safetensors format: a header in JSON, then the numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use safetensors::SafeTensorError;
use safetensors::tensor::Metadata;

use crate::error::{Error, Result};
use crate::formats::entry::Entry;
use crate::formats::input::Input;
use crate::memory::filled;

/// The largest size of a header that the format allows.
pub(crate) const MAX_HEADER_BYTES: usize = 100_000_000;

/// A file whose header has been read.
#[derive(Debug)]
pub(crate) struct SafetensorsFile {
    input: Arc<Input>,
    /// The byte at which the data begins, after the header.
    data_start: u64,
    entries: BTreeMap<String, Entry>,
    /// The bytes of each tensor, counted from the beginning of the data.
    ranges: BTreeMap<String, (usize, usize)>,
    metadata: BTreeMap<String, String>,
}

impl SafetensorsFile {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Error::SafeTensors`] if the file is not valid, [`Error::Io`] if it cannot be read.
    pub(crate) fn open(input: Arc<Input>) -> Result<Self> {
        let invalid = |source| Error::SafeTensors { origin: input.origin(), advice: None, source };
        let size = input.len();
        // The header is preceded by its size.
        let mut prefix = [0; size_of::<u64>()];
        if size < prefix.len() as u64 {
            return Err(invalid(SafeTensorError::HeaderTooSmall));
        }
        let read = |at, into: &mut [u8]| input.read_exact_at(at, into).map_err(|error| input.read_error(error));
        read(0, &mut prefix)?;
        let data_start = u64::from_le_bytes(prefix).saturating_add(prefix.len() as u64);
        if data_start > (MAX_HEADER_BYTES + prefix.len()) as u64 {
            let (advice, source) = (other_format(prefix), SafeTensorError::HeaderTooLarge);
            return Err(Error::SafeTensors { origin: input.origin(), advice, source });
        }
        if data_start > size {
            return Err(invalid(SafeTensorError::InvalidHeaderLength));
        }
        let mut header = filled("the header of the file", &[data_start as usize - prefix.len()], 0_u8)?;
        read(prefix.len() as u64, &mut header)?;
        let header = std::str::from_utf8(&header).map_err(|reason| invalid(SafeTensorError::InvalidHeader(reason)))?;
        // Also checks that the ranges are contiguous, and match shapes and types.
        let header: Metadata = serde_json::from_str(header)
            .map_err(|reason| invalid(SafeTensorError::InvalidHeaderDeserialization(reason)))?;
        if data_start.checked_add(header.data_len() as u64) != Some(size) {
            return Err(invalid(SafeTensorError::MetadataIncompleteBuffer));
        }
        let tensors = header.tensors();
        let entry = |(name, info): (&String, &&safetensors::tensor::TensorInfo)| {
            (name.clone(), Entry { dtype: info.dtype, shape: info.shape.clone() })
        };
        let entries = tensors.iter().map(entry).collect();
        let ranges = tensors.iter().map(|(name, info)| (name.clone(), info.data_offsets)).collect();
        let metadata = header.metadata().clone().into_iter().flatten().collect();
        Ok(Self { input, data_start, entries, ranges, metadata })
    }

    pub(crate) fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// Returns text by key (`__metadata__` of the format).
    pub(crate) fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Calls `each` with the bytes of a tensor, piece by piece, each of whole numbers.
    pub(crate) fn read(&self, name: &str, mut each: impl FnMut(&[u8])) -> Result<()> {
        const PIECE: usize = 1 << 16;
        let (start, end) = self.ranges.get(name).copied().unwrap_or_default();
        let mut piece = filled("a piece of the file", &[PIECE.min(end - start)], 0_u8)?;
        let mut at = start;
        while at < end {
            let piece = &mut piece[..PIECE.min(end - at)];
            let read = self.input.read_exact_at(self.data_start + at as u64, piece);
            read.map_err(|error| self.input.read_error(error))?;
            each(piece);
            at += piece.len();
        }
        Ok(())
    }
}

/// Returns advice on a file that begins with these bytes, which other formats begin with: a ZIP archive, a pickle, an
/// array of NumPy. Read as the size of a header, each is beyond what safetensors allows.
fn other_format(start: [u8; size_of::<u64>()]) -> Option<&'static str> {
    let (zip, pickle, npy) = (b"PK\x03\x04", b"\x80", b"\x93NUMPY");
    if start.starts_with(npy) {
        return Some("this is an array of NumPy, which the feature `npz` of wgpu-rnn reads");
    }
    if cfg!(feature = "pytorch") && start.starts_with(pickle) {
        return Some("this is a pickle that torch.save did not write");
    }
    if cfg!(all(feature = "pytorch", feature = "npz", feature = "keras")) && start.starts_with(zip) {
        return Some("this is a ZIP archive that is damaged, or that neither PyTorch, NumPy nor Keras wrote");
    }
    (start.starts_with(zip) || start.starts_with(pickle)).then_some(
        "this may be a file of torch.save, NumPy or Keras, which the features `pytorch`, `npz` and `keras` of wgpu-rnn \
         read; or write it with safetensors.torch.save_file(model.state_dict(), path)",
    )
}
