//! Named tensors in a file: what it says about them is read when opening, each tensor on request, with conversion.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use half::{bf16, f16};
use safetensors::Dtype;

use crate::error::{Error, Result};
#[cfg(any(feature = "npz", feature = "pytorch"))]
use crate::formats::container;
use crate::formats::entry::Entry;
use crate::formats::input::Input;
#[cfg(feature = "npz")]
use crate::formats::npz::NpzFile;
#[cfg(feature = "onnx")]
use crate::formats::onnx::{self, OnnxFile};
#[cfg(feature = "pytorch")]
use crate::formats::pytorch::PyTorchFile;
use crate::formats::safetensors::SafetensorsFile;
use crate::memory::reserved;
use crate::real::Real;
use crate::tensor::{IntoElements, Tensor};
use crate::weights::names::Naming;
use crate::weights::tensor_writer::Prepared;
use crate::weights::whole_file;

/// A file of named tensors of any type, which are converted to `f32` or `f64` when they are read: safetensors, or what
/// PyTorch and NumPy write (see [`open`](Self::open)).
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
    origin: String,
    container: Container,
    /// By the names that the file goes by, with the container's own.
    tensors: BTreeMap<String, (String, Entry)>,
    metadata: BTreeMap<String, String>,
}

/// The format of a file.
enum Container {
    Safetensors(SafetensorsFile),
    #[cfg(feature = "pytorch")]
    PyTorch(PyTorchFile),
    #[cfg(feature = "npz")]
    NumPy(NpzFile),
    /// The initialisers of a model.
    #[cfg(feature = "onnx")]
    Onnx {
        file: Box<OnnxFile>,
        entries: BTreeMap<String, Entry>,
    },
}

impl TensorFile {
    /// Opens a file and reads what it says about its tensors. The format is told by the content: safetensors; with the
    /// feature `pytorch` what `torch.save` writes; with the feature `npz` the `.npz` and `.npy` files of NumPy. A file
    /// without random access, such as a pipe, is read completely.
    ///
    /// Tensors in nested dictionaries, lists or modules of PyTorch are named by the keys that lead to them, joined by
    /// dots, as `state_dict()` does. Nothing in a pickle is ever executed.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::SafeTensors`] if it is not valid: the header must be JSON of at
    /// most 100 MB, and the ranges of the tensors must cover the rest of the file without gap or overlap;
    /// [`Error::Format`] for a broken file of the other formats; [`Error::Unsupported`] for TorchScript and other files
    /// of PyTorch that are not checkpoints.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::of(Input::open(path.as_ref())?)
    }

    /// Reads a file from its bytes: a `Vec` is used as it is, a slice is copied.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open); [`Error::TooLarge`] if memory for a copy cannot be allocated.
    pub fn from_bytes(bytes: impl IntoElements<u8>) -> Result<Self> {
        Self::of(Input::from_bytes(bytes.into_elements("the file")?))
    }

    pub(crate) fn of(input: Arc<Input>) -> Result<Self> {
        let origin = input.origin();
        Ok(Self::new(origin, Container::open(input)?))
    }

    /// Returns the initialisers of an ONNX model.
    #[cfg(feature = "onnx")]
    pub(crate) fn of_onnx(origin: String, file: OnnxFile) -> Self {
        let known =
            |(name, entry): (String, onnx::Entry)| Some((name, Entry { dtype: entry.dtype?, shape: entry.shape }));
        let entries = file.initialisers().into_iter().filter_map(known).collect();
        Self::new(origin, Container::Onnx { file: Box::new(file), entries })
    }

    fn new(origin: String, container: Container) -> Self {
        let tensors = container.entries().iter().map(|(name, entry)| (name.clone(), (name.clone(), entry.clone())));
        let tensors = tensors.collect();
        let metadata = match &container {
            Container::Safetensors(file) => file.metadata().clone(),
            #[cfg(feature = "pytorch")]
            Container::PyTorch(file) => file.arguments().clone(),
            #[cfg(any(feature = "npz", feature = "onnx"))]
            _ => BTreeMap::new(),
        };
        Self { origin, container, tensors, metadata }
    }

    /// Returns the file with other names for some of its tensors, each given as the present name and the new one: for
    /// layers under names that are not PyTorch's.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no tensor of a present name; [`Error::UnexpectedTensor`] if two tensors would
    /// have one name.
    pub fn renamed<S: AsRef<str>>(mut self, names: &[(S, S)]) -> Result<Self> {
        let mut moved = Vec::new();
        for (from, to) in names {
            let Some(tensor) = self.tensors.remove(from.as_ref()) else {
                let found = self.names().map(str::to_owned).collect();
                return Err(Error::NotFound { what: "tensor".to_owned(), name: from.as_ref().to_owned(), found });
            };
            moved.push((to.as_ref().to_owned(), tensor));
        }
        for (name, tensor) in moved {
            if let Some((other, _)) = self.tensors.insert(name.clone(), tensor) {
                return Err(Error::UnexpectedTensor { name, why: format!("{other} has the name already") });
            }
        }
        Ok(self)
    }

    /// Returns the names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.tensors.keys().map(String::as_str)
    }

    /// Returns the shape of a tensor, or `None` if the file has no tensor of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|(_, entry)| entry.shape.as_slice())
    }

    /// Returns the number type of a tensor, or `None` if the file has no tensor of that name.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.tensors.get(name).map(|(_, entry)| entry.dtype)
    }

    /// Returns the file's metadata: text by key (`__metadata__` of the format; `metadata=` of
    /// `safetensors.torch.save_file`). Of a whole module of PyTorch, these are the arguments that it records:
    /// `{prefix}batch_first` and `{prefix}nonlinearity`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Returns the prefixes under which the file has a recurrent layer, sorted: everything before a `weight_ih_l0`.
    /// [`layers`](Self::layers) describes the layers.
    pub fn recurrent_prefixes(&self) -> Vec<String> {
        Naming::Layer.prefixes(self.names())
    }

    /// Returns the name of the format.
    pub(crate) fn format(&self) -> &'static str {
        match &self.container {
            Container::Safetensors(_) => "safetensors",
            #[cfg(feature = "pytorch")]
            Container::PyTorch(_) => "PyTorch",
            #[cfg(feature = "npz")]
            Container::NumPy(_) => "NumPy",
            #[cfg(feature = "onnx")]
            Container::Onnx { .. } => "ONNX",
        }
    }

    /// Returns the prefix under which the file has a recurrent layer: the given one, or else the given one and a dot.
    pub(crate) fn recurrent_prefix(&self, prefix: &str) -> Option<String> {
        let found = self.recurrent_prefixes();
        [prefix.to_owned(), format!("{prefix}.")].into_iter().find(|prefix| found.contains(prefix))
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
    /// [`Error::TooLarge`] if memory cannot be allocated; [`Error::Unsupported`] for what PyTorch and NumPy store that
    /// is no array of numbers, such as a quantised tensor, and that the file does not list.
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
        let Some(info) = self.entry(name)? else { return Ok(None) };
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
        let Some(info) = self.entry(name)? else { return Ok(None) };
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

    /// Returns what is known of a tensor.
    fn entry(&self, name: &str) -> Result<Option<&Entry>> {
        match self.tensors.get(name) {
            Some((_, entry)) => Ok(Some(entry)),
            // The container may know why it does not list it.
            None => self.container.read(name, |_| ()).map(|_| None),
        }
    }

    /// Returns a better error for a file without any layer: that of a tensor that cannot be read, such as a quantised
    /// one.
    pub(super) fn explained(&self, error: Error) -> Error {
        match &error {
            Error::NoModel { found, others, .. } if found.is_empty() && others.is_empty() => {
                self.container.rejection().unwrap_or(error)
            }
            Error::MissingTensor { name, .. } => self.container.read(name, |_| ()).err().unwrap_or(error),
            _ => error,
        }
    }

    /// Reads the elements of a tensor whose type has N bytes.
    fn numbers<T, const N: usize>(&self, name: &str, entry: &Entry, number: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
        let mut numbers = reserved(name, &entry.shape)?;
        let own_name = self.tensors.get(name).map_or(name, |(own_name, _)| own_name);
        self.container.read(own_name, |piece| {
            numbers.extend(piece.as_chunks::<N>().0.iter().map(|&bytes| number(bytes)));
        })?;
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

impl Container {
    /// Returns the error of a tensor that the file has and that cannot be read, if there is one.
    fn rejection(&self) -> Option<Error> {
        match self {
            #[cfg(feature = "pytorch")]
            Self::PyTorch(file) => file.rejection(),
            #[cfg(feature = "npz")]
            Self::NumPy(file) => file.rejection(),
            _ => None,
        }
    }

    fn open(input: Arc<Input>) -> Result<Self> {
        #[cfg(any(feature = "npz", feature = "pytorch"))]
        match container::Container::of(&input)? {
            #[cfg(feature = "pytorch")]
            Some(container::Container::PyTorch) => return PyTorchFile::open(input).map(Self::PyTorch),
            #[cfg(feature = "npz")]
            Some(container::Container::NumPy) => return NpzFile::open(input).map(Self::NumPy),
            None => {}
        }
        SafetensorsFile::open(input).map(Self::Safetensors)
    }

    fn entries(&self) -> &BTreeMap<String, Entry> {
        match self {
            Self::Safetensors(file) => file.entries(),
            #[cfg(feature = "pytorch")]
            Self::PyTorch(file) => file.entries(),
            #[cfg(feature = "npz")]
            Self::NumPy(file) => file.entries(),
            #[cfg(feature = "onnx")]
            Self::Onnx { entries, .. } => entries,
        }
    }

    /// Calls `each` with the bytes of a tensor, in one piece or several.
    fn read(&self, name: &str, each: impl FnMut(&[u8])) -> Result<()> {
        match self {
            Self::Safetensors(file) => file.read(name, each),
            #[cfg(feature = "pytorch")]
            Self::PyTorch(file) => file.read(name).map(|array| array.iter().map(|array| &*array.bytes).for_each(each)),
            #[cfg(feature = "npz")]
            Self::NumPy(file) => file.read(name).map(|array| array.iter().map(|array| &*array.bytes).for_each(each)),
            #[cfg(feature = "onnx")]
            Self::Onnx { file, .. } => {
                file.read_initialiser(name).map(|array| array.iter().map(|array| &*array.bytes).for_each(each))
            }
        }
    }
}

/// Writes origin and size in one line.
impl fmt::Debug for TensorFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |(_, entry): &(String, Entry)| entry.shape.iter().product::<usize>() * entry.dtype.bitsize() / 8;
        let bytes: usize = self.tensors.values().map(size).sum();
        let mut shown = f.debug_struct("TensorFile");
        shown.field("origin", &self.origin).field("tensors", &self.tensors.len()).field("bytes", &bytes).finish()
    }
}
