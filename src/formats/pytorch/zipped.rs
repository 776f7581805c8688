//! Zip archives of torch.save: `data.pkl`, and a file for every storage.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use crate::formats::archive::Archive;
use crate::formats::input::Input;
use crate::formats::pytorch::names::{self, Named};
use crate::formats::pytorch::pickle::Pickle;
use crate::formats::pytorch::tensor::Tensor;
use crate::formats::reader::invalid;

/// An archive, and where its storages are.
#[derive(Debug)]
pub(super) struct Zipped {
    archive: Archive,
    /// The indices of the storages in the archive, by their keys.
    storages: BTreeMap<String, usize>,
    /// True if the numbers were written by a machine that has the highest byte first.
    pub(super) big_endian: bool,
}

const PICKLE: &str = "data.pkl";

/// Entries of archives that are PyTorch's, but not checkpoints, each with what to say about it.
const OTHERS: [(&str, &str); 3] = [
    (
        "constants.pkl",
        "it is a TorchScript archive (torch.jit.save), which holds code; save its weights instead: \
         torch.save(torch.jit.load(path).state_dict(), new_path)",
    ),
    (
        "archive_format",
        "it is a program of torch.export; save its weights instead: \
         torch.save(torch.export.load(path).state_dict, new_path)",
    ),
    (
        ".data/extern_modules",
        "it is a package of torch.package, which holds code; save a state_dict with torch.save instead",
    ),
];

/// Returns the name of an entry within the folder that all entries of PyTorch's archives are in.
fn inner(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, inner)| inner)
}

/// Returns true for the entries' names of a PyTorch archive, one that is rejected included.
pub(crate) fn is_archive(names: &[String]) -> bool {
    names.iter().any(|name| name == PICKLE || inner(name) == PICKLE || other(name).is_some())
}

fn other(name: &str) -> Option<&'static str> {
    OTHERS.iter().find(|(entry, _)| inner(name) == *entry).map(|&(_, why)| why)
}

/// Reads the directory and the pickle of an archive.
pub(super) fn open(input: &Arc<Input>) -> io::Result<(Zipped, Named)> {
    /// The compressed form of a pickle, which only other programs than PyTorch write, is read up to this length, or
    /// this many times its own.
    const SHORT: u64 = 1 << 20;
    const TIMES: u64 = 8;
    let archive = Archive::open(input)?;
    let names: Vec<(usize, String)> = archive.names().collect();
    if let Some(why) = names.iter().find_map(|(_, name)| other(name)) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    let pickle = names.iter().find(|(_, name)| name == PICKLE || inner(name) == PICKLE);
    let (pickle, name) = pickle.ok_or_else(|| invalid("a zip archive without data.pkl"))?;
    let folder = name.strip_suffix(PICKLE).unwrap_or_default();
    let find = |inner: &str| names.iter().find(|(_, name)| name.strip_prefix(folder) == Some(inner));

    let mut big_endian = false;
    if let Some(&(index, _)) = find("byteorder") {
        let mut order = String::new();
        archive.read(index, |entry| entry.take(16).read_to_string(&mut order))?;
        big_endian = match order.trim() {
            "little" => false,
            "big" => true,
            other => return Err(invalid(format!("the byte order {other:?}"))),
        };
    }
    let (size, packed) = archive.sizes(*pickle)?;
    if size > SHORT.max(packed.saturating_mul(TIMES)) {
        return Err(invalid(format!("a pickle of {size} bytes compressed to {packed}")));
    }
    let pickle = archive.read(*pickle, |entry| {
        let mut entry = io::BufReader::new(entry);
        let pickle = Pickle::read(&mut entry)?;
        // The checksum is compared at the end.
        io::copy(&mut entry, &mut io::sink())?;
        Ok(pickle)
    })?;
    let named = names::named(&pickle, input.len())?;

    let files = names.iter().filter_map(|(index, name)| {
        let key = name.strip_prefix(folder)?.strip_prefix("data/")?;
        Some((key.to_owned(), *index))
    });
    let storages: BTreeMap<String, usize> = files.collect();
    for (name, tensor) in &named.tensors {
        let Ok(tensor) = tensor else { continue };
        let index = storages.get(&*tensor.storage);
        let size = index.map(|&index| archive.sizes(index)).transpose()?.map_or(0, |(size, _)| size);
        if tensor.span > 0 && (tensor.start.saturating_add(tensor.span)) as u64 > size {
            return Err(invalid(format!("{name:?} reaches beyond its storage of {size} bytes")));
        }
    }
    Ok((Zipped { archive, storages, big_endian }, named))
}

impl Zipped {
    /// Reads the bytes from the first element of a tensor to its last.
    pub(super) fn bytes(&self, name: &str, tensor: &Tensor) -> io::Result<Vec<u8>> {
        if tensor.span == 0 {
            return Ok(Vec::new());
        }
        let index = self.storages.get(&*tensor.storage).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.archive.bytes(name, *index, tensor.start as u64, tensor.span)
    }
}
