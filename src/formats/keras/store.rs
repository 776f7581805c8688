//! Groups, attributes and tensors of an HDF5 file.

use std::collections::HashMap;
use std::io::{Read, Seek};

use half::f16;
use hdf5_pure::{AttrValue, Datatype, DatatypeByteOrder, File, FloatingPointLayout, ReadSeekSource};
use safetensors::Dtype;

use crate::formats::array::Array;
use crate::memory;

/// An open HDF5 file. Errors say what is wrong, without the file's name.
pub(super) struct Store {
    file: File,
}

impl Store {
    /// Opens a file or bytes, which are read piece by piece, as pieces are asked for.
    pub(super) fn open(reader: impl Read + Seek + Send + 'static) -> Result<Self, String> {
        let source = ReadSeekSource::new(reader).map_err(|error| error.to_string())?;
        File::from_source(source).map(|file| Self { file }).map_err(|error| error.to_string())
    }

    pub(super) fn has_group(&self, path: &str) -> bool {
        self.file.group(path).is_ok()
    }

    /// Returns the names of the groups in a group; none if there is no such group. The root has the empty path.
    pub(super) fn groups(&self, path: &str) -> Vec<String> {
        let group = if path.is_empty() { Ok(self.file.root()) } else { self.file.group(path) };
        group.and_then(|group| group.groups()).unwrap_or_default()
    }

    /// Returns the attributes of a group. The root has the empty path.
    pub(super) fn attributes(&self, path: &str) -> Result<Attributes, String> {
        let group = if path.is_empty() { Ok(self.file.root()) } else { self.file.group(path) };
        let attributes = group.and_then(|group| group.attrs()).map_err(|error| format!("{path}: {error}"))?;
        Ok(Attributes(attributes))
    }

    /// Returns the shape of a tensor, without its numbers.
    pub(super) fn shape(&self, path: &str) -> Result<Vec<usize>, String> {
        let shape = self.file.dataset(path).and_then(|dataset| dataset.shape());
        let shape = shape.map_err(|error| format!("{path}: {error}"))?;
        shape.into_iter().map(|size| usize::try_from(size).map_err(|error| format!("{path}: {error}"))).collect()
    }

    /// Returns a tensor as F32 or F64; F16 becomes F32.
    pub(super) fn tensor(&self, path: &str) -> Result<Array, String> {
        let shape = self.shape(path)?;
        let dataset = self.file.dataset(path).map_err(|error| format!("{path}: {error}"))?;
        let datatype = dataset.datatype().map_err(|error| format!("{path}: {error}"))?;
        let (bytes_each, big_endian) = float_type(&datatype)
            .ok_or_else(|| format!("{path} holds {datatype:?}, not floating-point numbers of 16, 32 or 64 bits"))?;
        let wanted = memory::element_count::<f64>(path, &shape).map_err(|error| error.to_string())? * bytes_each;
        // Numbers that were never written need no place in a file, and deflate makes at most 1032 bytes of one.
        let most = self.file.file_size().saturating_mul(if dataset.is_chunked() { 1032 } else { 1 });
        if wanted as u64 > most {
            return Err(format!("{path} claims {wanted} bytes, more than the file has"));
        }
        let mut bytes = dataset.read_raw().map_err(|error| format!("{path}: {error}"))?;
        if bytes.len() != wanted {
            return Err(format!("{path} has {} bytes instead of {wanted}", bytes.len()));
        }
        if big_endian {
            bytes.chunks_exact_mut(bytes_each).for_each(<[u8]>::reverse);
        }
        match bytes_each {
            2 => {
                let mut wide = memory::reserved(path, &[bytes.len(), 2]).map_err(|error| error.to_string())?;
                for &half in bytes.as_chunks().0 {
                    wide.extend_from_slice(&f16::from_le_bytes(half).to_f32().to_le_bytes());
                }
                Ok(Array { dtype: Dtype::F32, shape, bytes: wide })
            }
            4 => Ok(Array { dtype: Dtype::F32, shape, bytes }),
            _ => Ok(Array { dtype: Dtype::F64, shape, bytes }),
        }
    }
}

/// Returns a tensor of F32 as one of F64.
pub(super) fn widened(array: Array) -> Result<Array, String> {
    if array.dtype != Dtype::F32 {
        return Ok(array);
    }
    let mut bytes = memory::reserved("a tensor", &[array.bytes.len(), 2]).map_err(|error| error.to_string())?;
    for &single in array.bytes.as_chunks().0 {
        bytes.extend_from_slice(&f64::from(f32::from_le_bytes(single)).to_le_bytes());
    }
    Ok(Array { dtype: Dtype::F64, shape: array.shape, bytes })
}

/// Returns the bytes of an IEEE number and whether the first is the most significant.
fn float_type(datatype: &Datatype) -> Option<(usize, bool)> {
    let Datatype::FloatingPoint { size, byte_order, layout } = datatype else { return None };
    let big_endian = match byte_order {
        DatatypeByteOrder::LittleEndian => false,
        DatatypeByteOrder::BigEndian => true,
        DatatypeByteOrder::Vax => return None,
    };
    match size {
        2 if (layout.exponent_size, layout.mantissa_size) == (5, 10) => Some((2, big_endian)),
        4 if *layout == FloatingPointLayout::IEEE754_BINARY32 => Some((4, big_endian)),
        8 if *layout == FloatingPointLayout::IEEE754_BINARY64 => Some((8, big_endian)),
        _ => None,
    }
}

/// The attributes of one group.
pub(super) struct Attributes(HashMap<String, AttrValue>);

impl Attributes {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// Returns a list of strings. Long ones are in several attributes: `name0`, `name1`, ...
    pub(super) fn list(&self, name: &str) -> Option<Vec<String>> {
        let strings = |name: &str| Some(strings_of(self.0.get(name)?)?.to_vec());
        strings(name).or_else(|| {
            let mut all = strings(&format!("{name}0"))?;
            // Ends: every part is an attribute of its own.
            for part in 1.. {
                match strings(&format!("{name}{part}")) {
                    Some(more) => all.extend(more),
                    None => break,
                }
            }
            Some(all)
        })
    }
}

/// Returns strings. An empty list has no type worth the name: Keras writes it as floats.
fn strings_of(value: &AttrValue) -> Option<&[String]> {
    match value {
        AttrValue::F64Array(numbers) if numbers.is_empty() => Some(&[]),
        value => value.as_strings(),
    }
}
