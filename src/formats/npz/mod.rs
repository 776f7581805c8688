//! NumPy's files: `.npz` archives and single `.npy` arrays.

mod header;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::formats::archive::Archive;
use crate::formats::array::Array;
use crate::formats::container::is_zip;
use crate::formats::entry::Entry;
use crate::formats::input::Input;
use crate::formats::npz::header::{Header, MAGIC};
use crate::formats::reader::{Reader, invalid};
use crate::formats::strided;
use crate::memory::element_count;

/// What the names of an archive's arrays end with; the arrays are known without it.
pub(crate) const SUFFIX: &str = ".npy";

/// The name of the array in an `.npy` file: the one that `numpy.savez` gives to an array without a name.
pub(crate) const UNNAMED: &str = "arr_0";

const FORMAT: &str = "NumPy";

/// An `.npz` or `.npy` file whose headers have been read.
#[derive(Debug)]
pub(crate) struct NpzFile {
    input: Arc<Input>,
    /// `None` for an `.npy` file.
    archive: Option<Archive>,
    entries: BTreeMap<String, Entry>,
    /// All arrays, those of types that cannot be read included.
    stored: BTreeMap<String, Stored>,
}

/// An array in the file.
#[derive(Debug)]
struct Stored {
    /// The index in the archive; 0 for an `.npy` file.
    index: usize,
    header: Header,
}

impl NpzFile {
    /// Reads the headers of its arrays.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read; [`Error::Format`] if it is not one of NumPy's files.
    pub(crate) fn open(input: Arc<Input>) -> Result<Self> {
        let (archive, stored) = arrays(&input).map_err(|error| input.error(FORMAT, error))?;
        let entries = stored.iter().filter_map(|(name, array)| {
            let dtype = *array.header.dtype.as_ref().ok()?;
            Some((name.clone(), Entry { dtype, shape: array.header.shape.clone() }))
        });
        let entries = entries.collect();
        Ok(Self { input, archive, entries, stored })
    }

    /// Returns the arrays of numbers, without ".npy" in their names.
    pub(crate) fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// Returns the error of the first array that cannot be read, if there is one.
    pub(crate) fn rejection(&self) -> Option<Error> {
        self.stored.iter().find_map(|(name, array)| Some(self.rejected(name, array.header.dtype.as_ref().err()?)))
    }

    fn rejected(&self, name: &str, dtype: &str) -> Error {
        Error::Unsupported {
            what: format!("the array {name:?} of {}", self.input.origin()),
            why: match dtype {
                "|O" | "O" => "it holds Python objects, not numbers".to_owned(),
                dtype => format!("its dtype, {dtype}, is no real number type of up to 8 bytes"),
            },
        }
    }

    /// Reads an array, or returns `None` if there is none of that name.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an array of objects, text, dates, complex numbers and so on, which has no entry;
    /// [`Error::Format`] if the file is broken; [`Error::Io`] if it cannot be read; [`Error::TooLarge`].
    pub(crate) fn read(&self, name: &str) -> Result<Option<Array>> {
        let Some(Stored { index, header }) = self.stored.get(name) else { return Ok(None) };
        let dtype = header.dtype.as_ref().map_err(|dtype| self.rejected(name, dtype))?;
        let item = dtype.bitsize() / 8;
        let mut dimensions = header.shape.clone();
        dimensions.push(item);
        let len = element_count::<u8>(name, &dimensions)?;
        let read = match &self.archive {
            Some(archive) => archive.bytes(name, *index, header.len as u64, len),
            None => self.input.bytes(name, header.len as u64, len),
        };
        let mut bytes = read.map_err(|error| self.input.error(FORMAT, error))?;
        if header.big_endian {
            strided::swap_bytes(&mut bytes, item);
        }
        let strides = strided::column_major(&header.shape);
        if header.fortran_order && !strided::is_contiguous(&header.shape, &strides) {
            bytes = strided::gathered(name, &bytes, item, &header.shape, &strides)?;
        }
        Ok(Some(Array { dtype: *dtype, shape: header.shape.clone(), bytes }))
    }
}

/// Returns true for the start of an `.npy` file.
pub(crate) fn is_npy(start: &[u8]) -> bool {
    start.starts_with(MAGIC)
}

/// Reads the headers of all arrays, and the directory of an archive.
fn arrays(input: &Arc<Input>) -> io::Result<(Option<Archive>, BTreeMap<String, Stored>)> {
    let mut start = Vec::new();
    Reader::new(input).take(MAGIC.len() as u64).read_to_end(&mut start)?;
    if is_npy(&start) {
        let header = Header::read(Reader::new(input))?;
        check_len(&header, input.len(), UNNAMED)?;
        return Ok((None, BTreeMap::from([(UNNAMED.to_owned(), Stored { index: 0, header })])));
    }
    if !is_zip(&start) {
        return Err(invalid("it is neither an .npz archive nor an .npy array"));
    }
    let archive = Archive::open(input)?;
    let mut stored = BTreeMap::new();
    for (index, entry) in archive.names() {
        let Some(name) = entry.strip_suffix(SUFFIX) else { continue };
        let header = archive.read(index, |entry| Header::read(entry))?;
        check_len(&header, archive.sizes(index)?.0, name)?;
        stored.insert(name.to_owned(), Stored { index, header });
    }
    Ok((Some(archive), stored))
}

/// Checks that `len` bytes hold the array that the header promises.
fn check_len(header: &Header, len: u64, name: &str) -> io::Result<()> {
    let Ok(dtype) = header.dtype else { return Ok(()) };
    let mut dimensions = header.shape.clone();
    dimensions.push(dtype.bitsize() / 8);
    let expected = element_count::<u8>(name, &dimensions).ok().and_then(|count| count.checked_add(header.len));
    match expected {
        Some(expected) if expected as u64 <= len => Ok(()),
        _ => Err(invalid(format!("{name:?} of shape {:?} does not fit into its {len} bytes", header.shape))),
    }
}
