//! Zip archives of tensors: their entries, read whole or in part.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use zip::read::{ArchiveOffset, Config, ZipReadOptions};
use zip::{CompressionMethod, ZipArchive};

use crate::formats::input::Input;
use crate::formats::reader::{Reader, invalid};
use crate::memory::zeroed;

/// A zip archive whose directory has been read.
#[derive(Debug)]
pub(crate) struct Archive {
    input: Arc<Input>,
    /// Cloned for every read, since reading moves a position; clones share the directory.
    zip: ZipArchive<Reader>,
}

/// How much larger than its compressed bytes an entry can be: deflate's limit.
const DEFLATE_RATIO: u64 = 1032;

impl Archive {
    pub(crate) fn open(input: &Arc<Input>) -> io::Result<Self> {
        let zip = directory(Reader::new(input))?;
        Ok(Self { input: Arc::clone(input), zip })
    }

    /// Returns the names and the indices of the entries.
    pub(crate) fn names(&self) -> impl Iterator<Item = (usize, String)> {
        names(&self.zip)
    }

    /// Returns the length of an entry's content and of its stored form.
    pub(crate) fn sizes(&self, index: usize) -> io::Result<(u64, u64)> {
        let entry = self.zip.by_index_data(index)?;
        let (size, packed) = (entry.size(), entry.compressed_size());
        // A length that cannot be true is found before memory is reserved for it.
        if packed > self.input.len() || size > packed.saturating_mul(DEFLATE_RATIO).saturating_add(DEFLATE_RATIO) {
            return Err(invalid(format!("an entry of {size} bytes is stored in {packed} bytes")));
        }
        Ok((size, packed))
    }

    /// Reads an entry from its start with `read`.
    ///
    /// The checksum is compared when `read` gets to the end. A checksum of 0 means that there is none: torch.save
    /// leaves it out if it is told to (`set_crc32_options(False)`).
    pub(crate) fn read<T>(&self, index: usize, read: impl FnOnce(&mut dyn Read) -> io::Result<T>) -> io::Result<T> {
        let (_, _) = self.sizes(index)?;
        let unchecked = self.zip.by_index_data(index)?.crc32() == 0;
        let mut zip = self.zip.clone();
        let mut entry = zip.by_index_with_options(index, ZipReadOptions::new().ignore_crc32(unchecked))?;
        read(&mut entry)
    }

    /// Reads `len` bytes of an entry that start at `start`, and compares its checksum if all of it is read anyway.
    pub(crate) fn bytes(&self, what: &str, index: usize, start: u64, len: usize) -> io::Result<Vec<u8>> {
        /// A start so early that reading from the beginning costs nothing.
        const EARLY: u64 = 1 << 16;
        let (size, _) = self.sizes(index)?;
        let end = start.checked_add(len as u64).filter(|&end| end <= size).ok_or(io::ErrorKind::UnexpectedEof)?;
        if self.zip.by_index_data(index)?.compression() == CompressionMethod::Stored && (end < size || start > EARLY) {
            // Any part of an uncompressed entry is read where it is.
            let mut zip = self.zip.clone();
            let data_start = zip.by_index(index)?.data_start().and_then(|at| at.checked_add(start));
            return self.input.bytes(what, data_start.ok_or(io::ErrorKind::UnexpectedEof)?, len);
        }
        self.read(index, |entry| {
            if io::copy(&mut entry.take(start), &mut io::sink())? < start {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut bytes = zeroed(what, &[len]).map_err(io::Error::other)?;
            entry.read_exact(&mut bytes)?;
            // The checksum is compared by the read that finds nothing left.
            if end == size && entry.read(&mut [0])? > 0 {
                return Err(invalid("an entry is longer than it says"));
            }
            Ok(bytes)
        })
    }
}

/// Reads the directory of a zip archive.
pub(crate) fn directory<R: Read + Seek>(mut reader: R) -> io::Result<ZipArchive<R>> {
    /// The directory's end record and the longest comment that can follow it.
    const END: u64 = 22 + 0xffff;
    // Without this, a file that has lost its end is searched for one from back to front, however long it is.
    let len = reader.seek(SeekFrom::End(0))?;
    reader.seek(SeekFrom::Start(len.saturating_sub(END)))?;
    let mut end = Vec::new();
    reader.by_ref().take(END).read_to_end(&mut end)?;
    if !end.windows(4).any(|bytes| bytes == b"PK\x05\x06") {
        return Err(invalid("a zip archive without a directory: it ends too early"));
    }
    // The directory is where its end record says. Left to guess, the crate takes a wrong place in PyTorch's archives if
    // the first entry's name has 30 bytes (`a_stem_of_21_letters_/data.pkl`): they have the end record of large
    // archives between the directory and the usual end record, which then lies as far behind the second entry as the
    // directory is long.
    Ok(ZipArchive::with_config(Config { archive_offset: ArchiveOffset::Known(0) }, reader)?)
}

/// Returns the indices and the names of an archive's entries; names that are not text are left out.
pub(crate) fn names<R: Read + Seek>(zip: &ZipArchive<R>) -> impl Iterator<Item = (usize, String)> {
    (0..zip.len()).filter_map(|index| match zip.name_for_index(index) {
        Some(Ok(name)) => Some((index, name.into_owned())),
        _ => None,
    })
}
