//! The files of torch.save before PyTorch 1.6, or with `_use_new_zipfile_serialization=False`: five pickles (a mark, a
//! version, the machine, the content and the storages' keys), and then the storages.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::sync::Arc;

use crate::formats::input::Input;
use crate::formats::pytorch::names::{self, Named};
use crate::formats::pytorch::pickle::Pickle;
use crate::formats::pytorch::tensor::Tensor;
use crate::formats::pytorch::value::Value;
use crate::formats::reader::{Reader, invalid};

/// Where the storages are, by their keys: the position and the length in bytes.
///
/// The numbers are little-endian whatever the machine: PyTorch converts them in this form.
#[derive(Debug)]
pub(super) struct Legacy {
    storages: BTreeMap<Arc<str>, (u64, u64)>,
}

/// Returns true for the start of a file of this form.
pub(crate) fn is_legacy(start: &[u8]) -> bool {
    /// 0x1950a86a20f9469cfc6c, as protocols from 2 on write it, and before.
    const MARK: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
    const DIGITS: &[u8] = b"119547037146038801333356";
    /// Any protocol's framing is shorter than the rest.
    const SEARCHED: usize = 64;
    let start = start.get(..SEARCHED).unwrap_or(start);
    [MARK, DIGITS].into_iter().any(|mark| start.windows(mark.len()).any(|bytes| bytes == mark))
}

/// Returns true for the start of a tar archive of PyTorch before 0.1.10.
pub(crate) fn is_tar(start: &[u8]) -> bool {
    let is_first = |name: &[u8]| start.starts_with(name) && start.get(name.len()) == Some(&0);
    start.get(257..262) == Some(b"ustar")
        && [&b"sys_info"[..], b"pickle", b"storages", b"tensors"].into_iter().any(is_first)
}

/// Reads the pickles, and finds the storages.
pub(super) fn open(input: &Arc<Input>) -> io::Result<(Legacy, Named)> {
    const VERSION: i64 = 1001;
    let mut reader = Reader::new(input);
    Pickle::read(&mut reader)?;
    let version = Pickle::read(&mut reader)?;
    if version.get(version.root) != &Value::Integer(VERSION) {
        return Err(invalid(format!("the version of its form is not {VERSION}")));
    }
    Pickle::read(&mut reader)?;
    let content = Pickle::read(&mut reader)?;
    let keys = Pickle::read(&mut reader)?;
    let Value::Sequence(order) = keys.get(keys.root) else { return Err(invalid("its storages have no keys")) };

    let items: HashMap<&str, Option<usize>> = content.storages().map(|s| (&*s.key, s.kind.item())).collect();
    let mut storages = BTreeMap::new();
    for &key in order {
        let key = match keys.get(key) {
            Value::Text(key) => key.clone(),
            Value::Integer(key) => key.to_string().into(),
            _ => return Err(invalid("a storage with a key that is no text")),
        };
        let item = items.get(&*key).copied().flatten();
        let item = item.ok_or_else(|| invalid(format!("the storage {key:?} has no known type")))?;
        let mut count = [0; 8];
        reader.read_exact(&mut count)?;
        let len = u64::from_le_bytes(count).checked_mul(item as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        storages.insert(key, (reader.position(), len));
        reader.skip(len)?;
    }
    let named = names::named(&content, input.len())?;
    for (name, tensor) in &named.tensors {
        let Ok(tensor) = tensor else { continue };
        let len = storages.get(&tensor.storage).map_or(0, |&(_, len)| len);
        if tensor.span > 0 && (tensor.start.saturating_add(tensor.span)) as u64 > len {
            return Err(invalid(format!("{name:?} reaches beyond its storage of {len} bytes")));
        }
    }
    Ok((Legacy { storages }, named))
}

impl Legacy {
    /// Reads the bytes from the first element of a tensor to its last.
    pub(super) fn bytes(&self, input: &Arc<Input>, name: &str, tensor: &Tensor) -> io::Result<Vec<u8>> {
        if tensor.span == 0 {
            return Ok(Vec::new());
        }
        let &(start, _) = self.storages.get(&tensor.storage).ok_or(io::ErrorKind::UnexpectedEof)?;
        let start = start.checked_add(tensor.start as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        input.bytes(name, start, tensor.span)
    }
}
