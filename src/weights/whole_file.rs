//! Writing a file completely or not at all, or in place if the file system leaves no choice.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes `contents` to `path`.
///
/// The file is written next to its destination under an unused name and then moved into place: it appears complete or
/// not at all, and an existing file of that name stays as it was until then. Links are followed, even dangling ones.
///
/// An existing file is written in place if it cannot be replaced: anything that is not a regular file (a pipe, a
/// device), a file reached through an open descriptor (`/dev/stdout`), and a file whose folder, mount or owner does not
/// allow replacing it. An error then leaves partial contents.
pub(crate) fn write(path: &Path, contents: impl Fn(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let exists = match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return write_in_place(path, contents),
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    if exists {
        // A file that may not be written to must not be replaced either.
        drop(OpenOptions::new().write(true).open(path)?);
    }
    match follow_links(path)? {
        Some(target) if replace(&target, exists, &contents)? => Ok(()),
        // Uses the given path: the file behind a descriptor may no longer have a name.
        _ => write_in_place(path, contents),
    }
}

/// Returns the path at the end of all links from `path`, or `None` for a descriptor of a process.
fn follow_links(path: &Path) -> io::Result<Option<PathBuf>> {
    /// The number of links that Linux follows.
    const MOST: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST {
        let Ok(next) = fs::read_link(&path) else { return Ok(Some(path)) };
        let folder = folder_of(&path);
        // Links in there are not paths but descriptors: replacing the file would leave the descriptor pointing to the
        // old one.
        if folder.canonicalize()?.starts_with("/proc") {
            return Ok(None);
        }
        path = folder.join(next);
    }
    Err(io::Error::other("too many links"))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Writes a file next to `target` and moves it there. Returns false, having changed nothing, if an existing target
/// cannot be replaced.
#[cfg(not(target_arch = "wasm32"))]
fn replace(target: &Path, exists: bool, contents: impl Fn(&mut dyn Write) -> io::Result<()>) -> io::Result<bool> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(".partial");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Like any new file, subject to the umask; tempfile's default is meant for secrets.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    // Without this, the error would name the unused name.
    fs::metadata(folder_of(target))?;
    let mut partial = match builder.tempfile_in(folder_of(target)) {
        Err(error) if exists && is_forbidden(&error) => return Ok(false),
        partial => partial?,
    };
    if exists && take_owner_and_permissions(partial.as_file(), target).is_err() {
        return Ok(false);
    }
    let mut writer = BufWriter::new(partial.as_file_mut());
    contents(&mut writer)?;
    writer.flush()?;
    drop(writer);
    partial.as_file().sync_all()?;
    match partial.persist(target) {
        Err(failed) if exists && is_forbidden(&failed.error) => Ok(false),
        Err(failed) => Err(failed.error),
        Ok(_) => Ok(true),
    }
}

/// Returns false: browsers have no files to replace.
#[cfg(target_arch = "wasm32")]
fn replace(_: &Path, _: bool, _: impl Fn(&mut dyn Write) -> io::Result<()>) -> io::Result<bool> {
    Ok(false)
}

/// Returns true if the folder or mount does not allow replacing a file, which may still be writable.
#[cfg(not(target_arch = "wasm32"))]
fn is_forbidden(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(error.kind(), CrossesDevices | PermissionDenied | ReadOnlyFilesystem | ResourceBusy)
}

/// Gives a file the owner and permissions of another.
#[cfg(not(target_arch = "wasm32"))]
fn take_owner_and_permissions(file: &fs::File, of: &Path) -> io::Result<()> {
    let of = fs::metadata(of)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (of.uid(), of.gid()) {
            fchown(file, Some(of.uid()), Some(of.gid()))?;
        }
    }
    file.set_permissions(of.permissions())
}

fn write_in_place(path: &Path, contents: impl Fn(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    let mut writer = BufWriter::new(file);
    contents(&mut writer)?;
    writer.flush()
}
