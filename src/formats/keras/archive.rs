//! The zip container of `.keras` files.

use std::io::{Read, Seek};

use zip::ZipArchive;

use crate::memory;

const WEIGHTS: &str = "model.weights.h5";

/// What the weights, and what a JSON text may grow to, however little of the file they are. A text takes many times its
/// length once it is parsed.
const FREE_WEIGHTS: u64 = 16 << 20;
const FREE_TEXT: u64 = 1 << 20;
/// The most that a larger member may be compressed. Weights hardly compress; Keras itself stores them as they are.
const RATIO: u64 = 32;

/// Returns true if the zip at the reader's start is a Keras model.
pub(super) fn is_keras(reader: impl Read + Seek) -> bool {
    let Ok(archive) = ZipArchive::new(reader) else { return false };
    archive.index_for_name("config.json").is_some() && archive.index_for_name(WEIGHTS).is_some()
}

/// The three members of a `.keras` file.
pub(super) struct Members {
    pub(super) config: Vec<u8>,
    pub(super) metadata: Vec<u8>,
    pub(super) weights: Vec<u8>,
}

/// Reads the members. The error says why that is not possible.
pub(super) fn read(reader: impl Read + Seek) -> Result<Members, String> {
    let mut archive = ZipArchive::new(reader).map_err(|error| error.to_string())?;
    let config = member(&mut archive, "config.json")?.ok_or("no config.json in the zip file")?;
    let metadata = member(&mut archive, "metadata.json")?.unwrap_or_default();
    let weights = member(&mut archive, WEIGHTS)?.ok_or("no model.weights.h5 in the zip file")?;
    Ok(Members { config, metadata, weights })
}

fn member<R: Read + Seek>(archive: &mut ZipArchive<R>, name: &str) -> Result<Option<Vec<u8>>, String> {
    if archive.index_for_name(name).is_none() {
        return Ok(None);
    }
    let mut file = archive.by_name(name).map_err(|error| format!("{name}: {error}"))?;
    let size = file.size();
    let free = if name == WEIGHTS { FREE_WEIGHTS } else { FREE_TEXT };
    if size > free && size / RATIO > file.compressed_size() {
        return Err(format!("{name} claims {size} bytes, far more than the file has"));
    }
    let room = usize::try_from(size).map_err(|error| format!("{name}: {error}"))?;
    // A stored member is in the file as a whole; a compressed one claims little enough.
    let mut contents = memory::reserved(name, &[room]).map_err(|error| error.to_string())?;
    // One byte more than claimed, to notice a member that goes on; reading to its end checks its CRC.
    let read = (&mut file).take(size.saturating_add(1)).read_to_end(&mut contents);
    read.map_err(|error| format!("{name}: {error}"))?;
    if contents.len() != room {
        return Err(format!("{name} does not have the {size} bytes that it claims"));
    }
    Ok(Some(contents))
}
