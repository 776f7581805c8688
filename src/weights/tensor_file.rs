//! Named tensors in a safetensors file: the header is read when opening, each tensor on request, with conversion.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use half::{bf16, f16};
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensorError};

use crate::error::{Error, Result};
use crate::memory::{filled, reserved};
use crate::real::Real;
use crate::tensor::{IntoElements, Tensor};
use crate::weights::names::Naming;
use crate::weights::tensor_writer::{MAX_HEADER_BYTES, Prepared};
use crate::weights::whole_file;

/// A safetensors file: named tensors of any type, converted to `f32` or `f64` when they are read.
///
/// Opening reads only the header; each tensor is read on request, so reading one layer from a large checkpoint takes
/// only that layer's memory. The file stays open, and several threads may read from it at the same time. On Unix, a
/// file that is replaced in the meantime, as [`save`](Self::save) does, still reads as it was; one that is shortened
/// causes an error.
///
/// ```
/// use wgpu_rnn::{Tensor, TensorFile};
///
/// let bytes = TensorFile::serialize(&[("input", &Tensor::new([2, 1], vec![1.0_f32, 2.0])?)])?;
/// let file = TensorFile::from_bytes(bytes)?;
/// assert_eq!(file.tensor::<f64>("input")?.unwrap().data(), [1.0, 2.0]);
/// assert!(file.tensor::<f32>("h_0")?.is_none());
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
///
/// The following lists the layers of a file without loading them:
///
/// ```no_run
/// for layer in wgpu_rnn::TensorFile::open("model.safetensors")?.layers() {
///     println!("{layer}"); // LSTM(80, 512, num_layers=3, bidirectional=true) under "encoder.", F16
/// }
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
pub struct TensorFile {
    source: Source,
    /// The byte at which the data begins, after the header.
    data_start: u64,
    tensors: BTreeMap<String, TensorInfo>,
    metadata: BTreeMap<String, String>,
}

/// The origin of a file's bytes.
enum Source {
    Bytes(Vec<u8>),
    File { path: PathBuf, file: Mutex<File> },
}

impl TensorFile {
    /// Opens a file and reads its header. A file without random access, such as a pipe, is read completely.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::SafeTensors`] if it is not valid: the header must be JSON of at
    /// most 100 MB, and the ranges of the tensors must cover the rest of the file without gap or overlap.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let failed = |source| Error::Io { path: path.to_owned(), action: "read", source };
        let mut file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        let source = if about.is_file() {
            Source::File { path: path.to_owned(), file: file.into() }
        } else {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(failed)?;
            Source::Bytes(bytes)
        };
        Self::parse(source, path.display().to_string())
    }

    /// Reads a file from its bytes: a `Vec` is used as it is, a slice is copied.
    ///
    /// # Errors
    /// [`Error::SafeTensors`] if they are not valid; [`Error::TooLarge`] if memory for a copy cannot be allocated.
    pub fn from_bytes(bytes: impl IntoElements<u8>) -> Result<Self> {
        Self::parse(Source::Bytes(bytes.into_elements("the file")?), "bytes".to_owned())
    }

    fn parse(source: Source, origin: String) -> Result<Self> {
        let invalid = |source| Error::SafeTensors { origin: origin.clone(), advice: None, source };
        let size = source.size()?;
        // The header is preceded by its size.
        let mut prefix = [0; size_of::<u64>()];
        if size < prefix.len() as u64 {
            return Err(invalid(SafeTensorError::HeaderTooSmall));
        }
        source.read(0, &mut prefix)?;
        let data_start = u64::from_le_bytes(prefix).saturating_add(prefix.len() as u64);
        if data_start > (MAX_HEADER_BYTES + prefix.len()) as u64 {
            let (advice, source) = (torch_save_advice(prefix), SafeTensorError::HeaderTooLarge);
            return Err(Error::SafeTensors { origin, advice, source });
        }
        if data_start > size {
            return Err(invalid(SafeTensorError::InvalidHeaderLength));
        }
        let mut header = filled("the header of the file", &[data_start as usize - prefix.len()], 0_u8)?;
        source.read(prefix.len() as u64, &mut header)?;
        let header = std::str::from_utf8(&header).map_err(|reason| invalid(SafeTensorError::InvalidHeader(reason)))?;
        // Also checks that the ranges are contiguous, and match shapes and types.
        let header: Metadata = serde_json::from_str(header)
            .map_err(|reason| invalid(SafeTensorError::InvalidHeaderDeserialization(reason)))?;
        if data_start.checked_add(header.data_len() as u64) != Some(size) {
            return Err(invalid(SafeTensorError::MetadataIncompleteBuffer));
        }
        let tensors = header.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        let metadata = header.metadata().clone().into_iter().flatten().collect();
        Ok(Self { source, data_start, tensors, metadata })
    }

    /// Returns the names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.tensors.keys().map(String::as_str)
    }

    /// Returns the shape of a tensor, or `None` if the file has no tensor of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|info| info.shape.as_slice())
    }

    /// Returns the number type of a tensor, or `None` if the file has no tensor of that name.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.tensors.get(name).map(|info| info.dtype)
    }

    /// Returns the file's metadata: text by key (`__metadata__` of the format; `metadata=` of
    /// `safetensors.torch.save_file`).
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Returns the prefixes under which the file has a recurrent layer, sorted: everything before a `weight_ih_l0`.
    /// [`layers`](Self::layers) describes the layers.
    pub fn recurrent_prefixes(&self) -> Vec<String> {
        Naming::Layer.prefixes(self.names())
    }

    /// Returns the prefixes under which the file has a recurrent cell, sorted: everything before a `weight_ih`.
    pub fn cell_prefixes(&self) -> Vec<String> {
        Naming::Cell.prefixes(self.names())
    }

    /// Reads a tensor, converted to `F`: to the nearest value; beyond the range of `F`, to infinity. Returns `None` if
    /// the file has no tensor of that name.
    ///
    /// # Errors
    /// [`Error::Dtype`] for a type other than F32, F64, F16 and BF16; [`Error::Io`] if the file cannot be read;
    /// [`Error::TooLarge`] if memory cannot be allocated.
    pub fn tensor<F: Real>(&self, name: &str) -> Result<Option<Tensor<F>>> {
        self.weight(name).map_err(|error| match (error, self.dtype(name)) {
            (Error::Dtype { name, got, .. }, Some(Dtype::I64 | Dtype::I32)) => {
                Error::Dtype { name, got, advice: Some("whole numbers: TensorFile::integers") }
            }
            (error, _) => error,
        })
    }

    /// Reads a tensor that is a weight of a model, for which whole numbers are nothing to read in another way.
    pub(super) fn weight<F: Real>(&self, name: &str) -> Result<Option<Tensor<F>>> {
        let Some(info) = self.tensors.get(name) else { return Ok(None) };
        let data = match info.dtype {
            Dtype::F32 => self.numbers(name, info, |b| F::from_f64(f32::from_le_bytes(b).into())),
            Dtype::F64 => self.numbers(name, info, |b| F::from_f64(f64::from_le_bytes(b))),
            Dtype::F16 => self.numbers(name, info, |b| F::from_f64(f16::from_le_bytes(b).into())),
            Dtype::BF16 => self.numbers(name, info, |b| F::from_f64(bf16::from_le_bytes(b).into())),
            other => return Err(Error::Dtype { name: name.to_owned(), got: other.to_string(), advice: None }),
        };
        Tensor::new(info.shape.as_slice(), data?).map(Some)
    }

    /// Reads a tensor of integers, flat; returns `None` if the file has no tensor of that name.
    ///
    /// # Errors
    /// [`Error::UnexpectedTensor`] for a type other than I64 and I32; otherwise the errors of [`tensor`](Self::tensor).
    pub fn integers(&self, name: &str) -> Result<Option<Vec<i64>>> {
        let Some(info) = self.tensors.get(name) else { return Ok(None) };
        let numbers = match info.dtype {
            Dtype::I64 => self.numbers(name, info, i64::from_le_bytes),
            Dtype::I32 => self.numbers(name, info, |b| i32::from_le_bytes(b).into()),
            other => {
                let why = format!("expected integers, I64 or I32, got {other}");
                return Err(Error::UnexpectedTensor { name: name.to_owned(), why });
            }
        };
        numbers.map(Some)
    }

    /// Reads the elements of a tensor whose type has N bytes, piece by piece.
    fn numbers<T, const N: usize>(
        &self,
        name: &str,
        info: &TensorInfo,
        number: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        const PIECE: usize = 1 << 16;
        let mut numbers = reserved(name, &info.shape)?;
        let (start, end) = info.data_offsets;
        let mut piece = filled("a piece of the file", &[PIECE.min(end - start)], 0_u8)?;
        let mut at = start;
        while at < end {
            let piece = &mut piece[..PIECE.min(end - at)];
            self.source.read(self.data_start + at as u64, piece)?;
            numbers.extend(piece.as_chunks::<N>().0.iter().map(|&bytes| number(bytes)));
            at += piece.len();
        }
        Ok(numbers)
    }

    /// Returns the bytes of a safetensors file with these tensors, in their own type.
    ///
    /// # Errors
    /// [`Error::UnexpectedTensor`] for a name that appears twice or that the format reserves; [`Error::SafeTensors`] if
    /// the header would be larger than the format allows; [`Error::TooLarge`] if memory cannot be allocated.
    pub fn serialize<F: Real, S: AsRef<str>>(tensors: &[(S, &Tensor<F>)]) -> Result<Vec<u8>> {
        Prepared::new(tensors, &BTreeMap::new())?.to_bytes()
    }

    /// Writes a safetensors file, without a copy of the data in memory.
    ///
    /// A regular file appears complete or not at all: it is written next to its destination under an unused name, and
    /// then moved into place. An existing file of the same name is replaced; the new one takes over its permissions and
    /// owner, while its other hard links keep the old contents. Symbolic links are followed, even dangling ones. A
    /// process that is killed in the meantime leaves a file `.….partial` behind, which interferes with nothing.
    ///
    /// The following are written in place, so that an error leaves partial contents: anything that is not a regular
    /// file, such as a pipe; a file named by an open descriptor, such as `/dev/stdout`; and an existing file that
    /// cannot be replaced, because its folder is read-only, it is a mount point, or its owner cannot be preserved.
    ///
    /// # Errors
    /// The errors of [`serialize`](Self::serialize), and [`Error::Io`] if the file cannot be written.
    pub fn save<F: Real, S: AsRef<str>>(path: impl AsRef<Path>, tensors: &[(S, &Tensor<F>)]) -> Result<()> {
        Self::save_with_metadata(path, tensors, &BTreeMap::new())
    }

    /// Does the same as [`save`](Self::save), adding text by key, which [`metadata`](Self::metadata) returns.
    ///
    /// # Errors
    /// The errors of [`save`](Self::save).
    pub fn save_with_metadata<F: Real, S: AsRef<str>>(
        path: impl AsRef<Path>,
        tensors: &[(S, &Tensor<F>)],
        metadata: &BTreeMap<String, String>,
    ) -> Result<()> {
        let (path, file) = (path.as_ref(), Prepared::new(tensors, metadata)?);
        let written = whole_file::write(path, |writer| file.write_to(writer));
        written.map_err(|source| Error::Io { path: path.to_owned(), action: "written", source })
    }
}

impl Source {
    /// Returns the number of bytes.
    fn size(&self) -> Result<u64> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
            Self::File { path, file } => {
                let file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.metadata().map(|about| about.len()).map_err(|source| read_error(path, source))
            }
        }
    }

    /// Fills `into` with the bytes from `start` on.
    fn read(&self, start: u64, into: &mut [u8]) -> Result<()> {
        match self {
            Self::Bytes(bytes) => {
                let rest = usize::try_from(start).ok().and_then(|start| bytes.get(start..)).unwrap_or_default();
                let read = (&mut &*rest).read_exact(into);
                read.map_err(|source| read_error(Path::new("bytes"), source))
            }
            Self::File { path, file } => {
                // A seek and the read that follows it must not be separated.
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let read = file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(into));
                read.map_err(|source| read_error(path, source))
            }
        }
    }
}

/// Returns advice on a file that begins with these bytes, if `torch.save` writes such: a ZIP archive, before PyTorch
/// 1.6 a pickle. Read as the size of a header, either is beyond what the format allows.
fn torch_save_advice(start: [u8; size_of::<u64>()]) -> Option<&'static str> {
    let (zip, pickle) = (b"PK\x03\x04", b"\x80");
    (start.starts_with(zip) || start.starts_with(pickle)).then_some(
        "this looks like a file of torch.save: write it with safetensors.torch.save_file(model.state_dict(), path)",
    )
}

fn read_error(path: &Path, source: io::Error) -> Error {
    Error::Io { path: path.to_owned(), action: "read", source }
}

/// Writes origin and size in one line.
impl fmt::Debug for TensorFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: usize = self.tensors.values().map(|info| info.data_offsets.1 - info.data_offsets.0).sum();
        let mut shown = f.debug_struct("TensorFile");
        match &self.source {
            Source::Bytes(_) => shown.field("origin", &"bytes"),
            Source::File { path, .. } => shown.field("origin", path),
        };
        shown.field("tensors", &self.tensors.len()).field("bytes", &bytes).finish()
    }
}
