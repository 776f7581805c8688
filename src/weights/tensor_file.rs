//! Named tensors in a safetensors file: reading with conversion, writing whole or not at all.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use half::{bf16, f16};
use safetensors::tensor::{TensorInfo, TensorView};
use safetensors::{Dtype, SafeTensors};

use crate::cell_kind::CellKind;
use crate::weights::names;
use crate::{Error, Real, Result, Tensor};

/// What kind of recurrent layer a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecurrentLayer {
    /// [`Lstm`](crate::Lstm) reads it.
    Lstm,
    /// [`Gru`](crate::Gru) reads it.
    Gru,
    /// [`Rnn`](crate::Rnn) reads it; the nonlinearity is not in the weights.
    Rnn,
}

/// A safetensors file, read whole: named tensors of any type, converted to `f32` or `f64` as they are taken out.
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
pub struct TensorFile {
    bytes: Vec<u8>,
    /// Where the data begins, behind the header.
    data_start: usize,
    tensors: BTreeMap<String, TensorInfo>,
}

impl TensorFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::SafeTensors`] when it is not valid.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|reason| Error::Io { path: path.to_owned(), reason })?;
        Self::parse(bytes, path.display().to_string())
    }

    /// Takes a file's bytes.
    ///
    /// # Errors
    /// [`Error::SafeTensors`] when they are not valid.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self> {
        Self::parse(bytes.into(), "bytes".to_owned())
    }

    fn parse(bytes: Vec<u8>, origin: String) -> Result<Self> {
        // Checks that the tensors' places cover the file's data without gap or overlap.
        let parsed = SafeTensors::deserialize(&bytes).and_then(|_| SafeTensors::read_metadata(&bytes));
        let (header_size, metadata) = parsed.map_err(|reason| Error::SafeTensors { origin, reason })?;
        let tensors = metadata.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        // The header's own size stands before it, in eight bytes.
        Ok(Self { data_start: header_size + 8, bytes, tensors })
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor, or `None` if the file has no tensor of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|info| info.shape.as_slice())
    }

    /// The prefixes under which the file has a recurrent layer: whatever stands before a `weight_ih_l0`, sorted.
    pub fn recurrent_prefixes(&self) -> Vec<String> {
        names::prefixes(self.names())
    }

    /// The prefixes under which the file has a recurrent cell: whatever stands before a `weight_ih`, sorted.
    pub fn cell_prefixes(&self) -> Vec<String> {
        names::cell_prefixes(self.names())
    }

    /// What the recurrent layer under `prefix` is, by the rows of its `weight_hh_l0`: 4·H, 3·H or H; `None` if there is none or
    /// it is none of these.
    pub fn recurrent_layer(&self, prefix: &str) -> Option<RecurrentLayer> {
        let &[rows, recurrent] = self.shape(&format!("{prefix}weight_hh_l0"))? else { return None };
        let hidden = match self.shape(&format!("{prefix}weight_hr_l0")) {
            Some(&[_, hidden]) => hidden,
            _ => recurrent,
        };
        let gates = rows.checked_div(hidden).filter(|gates| gates * hidden == rows)?;
        Some(match CellKind::of_gates(gates)?.0 {
            CellKind::Lstm => RecurrentLayer::Lstm,
            CellKind::Gru | CellKind::GruResetBefore => RecurrentLayer::Gru,
            CellKind::Rnn(_) => RecurrentLayer::Rnn,
        })
    }

    /// A tensor, converted to `F`: to the nearest value; beyond the range of `F`, to infinity.
    /// `None` if the file has no tensor of that name.
    ///
    /// # Errors
    /// [`Error::Dtype`] for a type other than F32, F64, F16 and BF16.
    pub fn tensor<F: Real>(&self, name: &str) -> Result<Option<Tensor<F>>> {
        let Some(info) = self.tensors.get(name) else { return Ok(None) };
        let (start, end) = info.data_offsets;
        decode(name, info, &self.bytes[self.data_start + start..self.data_start + end]).map(Some)
    }

    /// A tensor of whole numbers, flat; `None` if the file has no tensor of that name.
    ///
    /// # Errors
    /// [`Error::UnexpectedTensor`] for a type other than I64 and I32.
    pub fn integers(&self, name: &str) -> Result<Option<Vec<i64>>> {
        let Some(info) = self.tensors.get(name) else { return Ok(None) };
        let (start, end) = info.data_offsets;
        let bytes = &self.bytes[self.data_start + start..self.data_start + end];
        Ok(Some(match info.dtype {
            Dtype::I64 => numbers(bytes, i64::from_le_bytes),
            Dtype::I32 => numbers(bytes, |b| i32::from_le_bytes(b).into()),
            other => {
                let why = format!("expected whole numbers, I64 or I32, got {other:?}");
                return Err(Error::UnexpectedTensor { name: name.to_owned(), why });
            }
        }))
    }

    /// The bytes of a safetensors file with these tensors, in their own type.
    ///
    /// # Errors
    /// [`Error::UnexpectedTensor`] for a name that comes twice or that the format keeps for itself,
    /// [`Error::SafeTensors`] when the tensors' header would be larger than the format allows.
    pub fn serialize<F: Real, S: AsRef<str>>(tensors: &[(S, &Tensor<F>)]) -> Result<Vec<u8>> {
        let error = |source| Error::SafeTensors { origin: "bytes".to_owned(), reason: source };
        let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, tensor)| encode(tensor)).collect();
        let mut views = BTreeMap::new();
        for ((name, tensor), bytes) in tensors.iter().zip(&bytes) {
            let dtype = if size_of::<F>() == 8 { Dtype::F64 } else { Dtype::F32 };
            let view = TensorView::new(dtype, tensor.shape().to_vec(), bytes).map_err(error)?;
            let why = match (name.as_ref(), views.insert(name.as_ref(), view)) {
                ("__metadata__", _) => "the format keeps this name for itself",
                (_, Some(_)) => "two tensors have this name",
                (_, None) => continue,
            };
            return Err(Error::UnexpectedTensor { name: name.as_ref().to_owned(), why: why.to_owned() });
        }
        safetensors::serialize(views, None).map_err(error)
    }

    /// Writes a safetensors file. A regular file appears complete or not at all; one of the same name is replaced, and keeps
    /// its permissions. Anything else of that name, such as a pipe, is written to.
    ///
    /// # Errors
    /// As [`serialize`](Self::serialize), and [`Error::Io`] when the file cannot be written.
    pub fn save<F: Real, S: AsRef<str>>(path: impl AsRef<Path>, tensors: &[(S, &Tensor<F>)]) -> Result<()> {
        let bytes = Self::serialize(tensors)?;
        write_whole(path.as_ref(), &bytes).map_err(|reason| Error::Io { path: path.as_ref().to_owned(), reason })
    }
}

/// Writes a file beside the target under a name that nobody has, and moves it there.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // Behind a link, the target is what the link leads to.
    let (target, existing) = match std::fs::metadata(path) {
        Ok(metadata) => (path.canonicalize()?, Some(metadata)),
        Err(_) => (path.to_owned(), None),
    };
    if existing.as_ref().is_some_and(|metadata| !metadata.is_file()) {
        return std::fs::write(&target, bytes);
    }
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let partial = target.with_file_name(format!(".wgpu-rnn-{process}-{count}.partial"));
    let write = || {
        let mut file = File::create_new(&partial)?;
        if let Some(metadata) = existing {
            file.set_permissions(metadata.permissions())?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&partial, &target)
    };
    write().inspect_err(|error| {
        if error.kind() != std::io::ErrorKind::AlreadyExists {
            // The first error is the one to report, whether or not there is anything to clean up.
            let _ = std::fs::remove_file(&partial);
        }
    })
}

/// Elements are decoded one by one because a file's data may start at any byte.
fn decode<F: Real>(name: &str, info: &TensorInfo, bytes: &[u8]) -> Result<Tensor<F>> {
    let data = match info.dtype {
        Dtype::F32 => numbers(bytes, |b| F::from_f64(f32::from_le_bytes(b).into())),
        Dtype::F64 => numbers(bytes, |b| F::from_f64(f64::from_le_bytes(b))),
        Dtype::F16 => numbers(bytes, |b| F::from_f64(f16::from_le_bytes(b).into())),
        Dtype::BF16 => numbers(bytes, |b| F::from_f64(bf16::from_le_bytes(b).into())),
        other => return Err(Error::Dtype { name: name.to_owned(), got: format!("{other:?}") }),
    };
    Tensor::new(info.shape.as_slice(), data)
}

fn numbers<F, const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> F) -> Vec<F> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|&bytes| number(bytes)).collect()
}

fn encode<F: Real>(tensor: &Tensor<F>) -> Vec<u8> {
    let data = tensor.data().iter();
    if size_of::<F>() == 8 {
        data.flat_map(|v| v.to_f64().to_le_bytes()).collect()
    } else {
        data.flat_map(|v| (v.to_f64() as f32).to_le_bytes()).collect()
    }
}
