//! Writing safetensors: a header and the tensors' own bytes, without a second copy of the data.

use std::collections::BTreeMap;
use std::io::{self, Write};

use safetensors::tensor::TensorInfo;
use safetensors::{Dtype, SafeTensorError};

use crate::error::{Error, Result};
use crate::formats::safetensors::MAX_HEADER_BYTES;
use crate::memory::reserved;
use crate::real::Real;
use crate::tensor::Tensor;

/// The header's entry for metadata, whose name no tensor may have.
const METADATA: &str = "__metadata__";

/// A file's header and, in the order of their ranges, the tensors that follow it.
pub(super) struct Prepared<'a, F> {
    header: Vec<u8>,
    tensors: Vec<&'a Tensor<F>>,
}

impl<'a, F: Real> Prepared<'a, F> {
    /// Lays the tensors out by name, as the format's own writer does for one number type.
    pub(super) fn new<S: AsRef<str>>(
        tensors: &'a [(S, &'a Tensor<F>)],
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let error = |source| Error::SafeTensors { origin: "bytes".to_owned(), advice: None, source };
        let mut by_name = BTreeMap::new();
        for (name, tensor) in tensors {
            let why = match (name.as_ref(), by_name.insert(name.as_ref(), *tensor)) {
                (METADATA, _) => "the format reserves this name",
                (_, Some(_)) => "two tensors have this name",
                (_, None) => continue,
            };
            return Err(Error::UnexpectedTensor { name: name.as_ref().to_owned(), why: why.to_owned() });
        }
        let dtype = if size_of::<F>() == 8 { Dtype::F64 } else { Dtype::F32 };
        let json = |reason| error(SafeTensorError::JsonError(reason));
        // A fixed order, so that the same tensors give the same bytes.
        let mut entries = Vec::new();
        if !metadata.is_empty() {
            entries.push(format!("{METADATA:?}:{}", serde_json::to_string(metadata).map_err(json)?));
        }
        let mut start = 0;
        for (name, tensor) in &by_name {
            let end = start + size_of_val(tensor.data());
            let info = TensorInfo { dtype, shape: tensor.shape().to_vec(), data_offsets: (start, end) };
            let (name, info) =
                (serde_json::to_string(name).map_err(json)?, serde_json::to_string(&info).map_err(json)?);
            entries.push(format!("{name}:{info}"));
            start = end;
        }
        let mut header = format!("{{{}}}", entries.join(",")).into_bytes();
        // The data starts at a multiple of eight bytes; the format pads with spaces.
        header.resize(header.len().next_multiple_of(size_of::<u64>()), b' ');
        if header.len() > MAX_HEADER_BYTES {
            return Err(error(SafeTensorError::HeaderTooLarge));
        }
        Ok(Self { header, tensors: by_name.into_values().collect() })
    }

    /// Returns the bytes of the whole file.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let data: usize = self.tensors.iter().map(|tensor| size_of_val(tensor.data())).sum();
        let size = size_of::<u64>() + self.header.len() + data;
        let mut bytes = reserved("the file", &[size])?;
        let error = |source: io::Error| {
            let source = source.into();
            Error::SafeTensors { origin: "bytes".to_owned(), advice: None, source }
        };
        self.write_to(&mut bytes).map_err(error)?;
        Ok(bytes)
    }

    pub(super) fn write_to(&self, writer: &mut dyn Write) -> io::Result<()> {
        writer.write_all(&(self.header.len() as u64).to_le_bytes())?;
        writer.write_all(&self.header)?;
        self.tensors.iter().try_for_each(|tensor| write_numbers(writer, tensor.data()))
    }
}

/// Writes numbers in little-endian order, as the format requires.
fn write_numbers<F: Real>(writer: &mut dyn Write, numbers: &[F]) -> io::Result<()> {
    if cfg!(target_endian = "little") {
        return writer.write_all(bytemuck::cast_slice(numbers));
    }
    numbers.iter().try_for_each(|number| {
        let bytes: &[u8] = bytemuck::bytes_of(number);
        bytes.iter().rev().try_for_each(|&byte| writer.write_all(&[byte]))
    })
}
