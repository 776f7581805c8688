//! Named tensors in a safetensors file: reading with conversion, writing whole or not at all.

use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{Error, Real, Result, Tensor};

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
    origin: String,
}

impl TensorFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::SafeTensors`] when it is not valid.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Self::checked(bytes, path.display().to_string())
    }

    /// Takes a file's bytes.
    ///
    /// # Errors
    /// [`Error::SafeTensors`] when they are not valid.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self> {
        Self::checked(bytes.into(), "bytes".to_owned())
    }

    fn checked(bytes: Vec<u8>, origin: String) -> Result<Self> {
        let file = Self { bytes, origin };
        file.parsed()?;
        Ok(file)
    }

    /// Views into the bytes. Parsing reads the header only.
    fn parsed(&self) -> Result<SafeTensors<'_>> {
        SafeTensors::deserialize(&self.bytes)
            .map_err(|source| Error::SafeTensors { origin: self.origin.clone(), source })
    }

    /// The names of all tensors, sorted.
    ///
    /// # Errors
    /// None after a successful [`open`](Self::open) or [`from_bytes`](Self::from_bytes).
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = self.parsed()?.names().into_iter().map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    /// The shape of a tensor, or `None` if the file has no tensor of that name.
    ///
    /// # Errors
    /// As [`names`](Self::names).
    pub fn shape(&self, name: &str) -> Result<Option<Vec<usize>>> {
        Ok(self.parsed()?.tensor(name).ok().map(|view| view.shape().to_vec()))
    }

    /// A tensor, converted to `F`: to the nearest value; beyond the range of `F`, to infinity.
    /// `None` if the file has no tensor of that name.
    ///
    /// # Errors
    /// [`Error::Dtype`] for a type other than F32, F64, F16 and BF16.
    pub fn tensor<F: Real>(&self, name: &str) -> Result<Option<Tensor<F>>> {
        match self.parsed()?.tensor(name) {
            Ok(view) => decode(name, &view).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// The bytes of a safetensors file with these tensors, in their own type.
    ///
    /// # Errors
    /// [`Error::SafeTensors`] when the tensors' header would be larger than the format allows.
    pub fn serialize<F: Real, S: AsRef<str>>(tensors: &[(S, &Tensor<F>)]) -> Result<Vec<u8>> {
        let error = |source| Error::SafeTensors { origin: "bytes".to_owned(), source };
        let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, tensor)| encode(tensor)).collect();
        let mut views = Vec::with_capacity(tensors.len());
        for ((name, tensor), bytes) in tensors.iter().zip(&bytes) {
            let dtype = if size_of::<F>() == 8 { Dtype::F64 } else { Dtype::F32 };
            views.push((name.as_ref(), TensorView::new(dtype, tensor.shape().to_vec(), bytes).map_err(error)?));
        }
        safetensors::serialize(views, None).map_err(error)
    }

    /// Writes a safetensors file. The file appears complete or not at all; one of the same name is replaced.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn save<F: Real, S: AsRef<str>>(path: impl AsRef<Path>, tensors: &[(S, &Tensor<F>)]) -> Result<()> {
        let path = path.as_ref();
        let bytes = Self::serialize(tensors)?;
        let mut partial_name = path.file_name().unwrap_or_default().to_owned();
        partial_name.push(".partial");
        let partial = path.with_file_name(partial_name);
        let written = std::fs::write(&partial, bytes).and_then(|()| std::fs::rename(&partial, path));
        written.map_err(|source| {
            // The write's own error is the one to report, whether or not there is anything to clean up.
            let _ = std::fs::remove_file(&partial);
            Error::Io { path: path.to_owned(), source }
        })
    }
}

/// Elements are decoded one by one because a file's data may start at any byte.
fn decode<F: Real>(name: &str, view: &TensorView<'_>) -> Result<Tensor<F>> {
    let data = match view.dtype() {
        Dtype::F32 => numbers(view, |b| F::from_f64(f32::from_le_bytes(b).into())),
        Dtype::F64 => numbers(view, |b| F::from_f64(f64::from_le_bytes(b))),
        Dtype::F16 => numbers(view, |b| F::from_f64(f16::from_le_bytes(b).into())),
        Dtype::BF16 => numbers(view, |b| F::from_f64(bf16::from_le_bytes(b).into())),
        other => return Err(Error::Dtype { name: name.to_owned(), got: format!("{other:?}") }),
    };
    Tensor::new(view.shape(), data)
}

fn numbers<F, const N: usize>(view: &TensorView<'_>, number: impl Fn([u8; N]) -> F) -> Vec<F> {
    let (chunks, _) = view.data().as_chunks::<N>();
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
