//! The files of torch.save: zip archives, and the form before PyTorch 1.6.
//!
//! A pickle describes what was saved; the numbers are outside of it, in storages that tensors are views of. Nothing in
//! the pickle is ever run.

mod globals;
mod legacy;
mod names;
mod operands;
mod pickle;
mod tensor;
mod value;
mod zipped;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::formats::array::Array;
use crate::formats::container::is_zip;
use crate::formats::entry::Entry;
use crate::formats::input::Input;
use crate::formats::pytorch::names::Named;
use crate::formats::reader::{Reader, invalid};
use crate::formats::strided;

pub(crate) use legacy::{is_legacy, is_tar};
pub(crate) use zipped::is_archive;

const FORMAT: &str = "PyTorch";

/// A file of torch.save whose pickle has been read.
#[derive(Debug)]
pub(crate) struct PyTorchFile {
    input: Arc<Input>,
    container: Container,
    entries: BTreeMap<String, Entry>,
    named: Named,
}

/// Where the storages are.
#[derive(Debug)]
enum Container {
    Zip(zipped::Zipped),
    Legacy(legacy::Legacy),
}

impl PyTorchFile {
    /// Reads what it says about its tensors.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read; [`Error::Format`] if it is not a file of torch.save;
    /// [`Error::Unsupported`] for TorchScript and others that are PyTorch's, but not checkpoints.
    pub(crate) fn open(input: Arc<Input>) -> Result<Self> {
        let (container, named) = contents(&input).map_err(|error| input.error(FORMAT, error))?;
        let entries = named.tensors.iter().filter_map(|(name, tensor)| {
            let tensor = tensor.as_ref().ok()?;
            Some((name.clone(), Entry { dtype: tensor.dtype, shape: tensor.shape.clone() }))
        });
        let entries = entries.collect();
        Ok(Self { input, container, entries, named })
    }

    /// Returns the tensors under the keys and indices that lead to them, joined by dots.
    pub(crate) fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// Returns the arguments that modules record, `batch_first` and `nonlinearity`, as text under their names.
    pub(crate) fn arguments(&self) -> &BTreeMap<String, String> {
        &self.named.arguments
    }

    /// Returns the error of the first tensor that cannot be read, if there is one.
    pub(crate) fn rejection(&self) -> Option<Error> {
        self.named.tensors.iter().find_map(|(name, tensor)| Some(self.rejected(name, tensor.as_ref().err()?)))
    }

    fn rejected(&self, name: &str, why: &str) -> Error {
        Error::Unsupported { what: format!("the tensor {name:?} of {}", self.input.origin()), why: why.to_owned() }
    }

    /// Reads a tensor, or returns `None` if there is none of that name.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a quantised or sparse tensor and so on, which has no entry; [`Error::Format`] if the
    /// file is broken; [`Error::Io`] if it cannot be read; [`Error::TooLarge`].
    pub(crate) fn read(&self, name: &str) -> Result<Option<Array>> {
        /// How large a tensor may be, if the file is small, or else how many times as large as the file. An expanded
        /// view repeats its storage's numbers, as often as it says.
        const SMALL: u64 = 1 << 25;
        const TIMES: u64 = 16;
        let Some(tensor) = self.named.tensors.get(name) else { return Ok(None) };
        let tensor = tensor.as_ref().map_err(|why| self.rejected(name, why))?;
        let item = tensor.dtype.bitsize() / 8;
        let count: usize = tensor.shape.iter().product();
        if (count.saturating_mul(item)) as u64 > SMALL.max(self.input.len().saturating_mul(TIMES)) {
            return Err(Error::TooLarge { what: name.to_owned(), shape: tensor.shape.clone(), bytes_each: item });
        }
        let read = match &self.container {
            Container::Zip(zip) => zip.bytes(name, tensor),
            Container::Legacy(legacy) => legacy.bytes(&self.input, name, tensor),
        };
        let mut bytes = read.map_err(|error| self.input.error(FORMAT, error))?;
        if matches!(&self.container, Container::Zip(zip) if zip.big_endian) {
            strided::swap_bytes(&mut bytes, item);
        }
        if !strided::is_contiguous(&tensor.shape, &tensor.strides) {
            bytes = strided::gathered(name, &bytes, item, &tensor.shape, &tensor.strides)?;
        }
        Ok(Some(Array { dtype: tensor.dtype, shape: tensor.shape.clone(), bytes }))
    }
}

/// Reads everything but the numbers.
fn contents(input: &Arc<Input>) -> io::Result<(Container, Named)> {
    let mut start = Vec::new();
    Reader::new(input).take(512).read_to_end(&mut start)?;
    if is_zip(&start) {
        let (zip, tensors) = zipped::open(input)?;
        return Ok((Container::Zip(zip), tensors));
    }
    if is_legacy(&start) {
        let (legacy, tensors) = legacy::open(input)?;
        return Ok((Container::Legacy(legacy), tensors));
    }
    if is_tar(&start) {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "it is a tar archive of PyTorch before 0.1.10; load it with torch.load and save it again",
        ));
    }
    Err(invalid("it is neither a zip archive nor the legacy form of torch.save"))
}
