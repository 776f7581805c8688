//! Writing a file whole or not at all, and in place where the file system leaves no choice.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes `contents` to `path`.
///
/// The file is written beside its place under a name that nobody has, and moved there: it appears complete or not at
/// all, and another of that name stays as it was until then. Links are followed, dangling ones too.
///
/// An existing file is written in place if it cannot be replaced: whatever is no regular file (a pipe, a device), a file
/// that is reached through an open descriptor (`/dev/stdout`), and one whose folder, mount or owner does not allow it.
/// An error then leaves a part of the contents.
pub(super) fn write(path: &Path, contents: impl Fn(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let exists = match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return write_in_place(path, contents),
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    if exists {
        // A file that may not be written to is not replaced either.
        drop(OpenOptions::new().write(true).open(path)?);
    }
    match follow_links(path)? {
        Some(target) if replace(&target, exists, &contents)? => Ok(()),
        // By the path as given: the file behind a descriptor may have no name any more.
        _ => write_in_place(path, contents),
    }
}

/// Returns the path behind all links that `path` ends in, or `None` behind a descriptor of a process.
fn follow_links(path: &Path) -> io::Result<Option<PathBuf>> {
    /// As many as Linux follows.
    const MOST: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST {
        let Ok(next) = fs::read_link(&path) else { return Ok(Some(path)) };
        let folder = folder_of(&path);
        // Links there are not paths but descriptors: to replace the file would leave the descriptor with the old one.
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

/// Writes beside `target` and moves the file there. Returns false, having changed nothing, where a target that exists
/// cannot be replaced.
#[cfg(not(target_arch = "wasm32"))]
fn replace(target: &Path, exists: bool, contents: impl Fn(&mut dyn Write) -> io::Result<()>) -> io::Result<bool> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(".partial");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any new file, less the umask; tempfile's default is for secrets.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
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

/// Browsers have no files to replace.
#[cfg(target_arch = "wasm32")]
fn replace(_: &Path, _: bool, _: impl Fn(&mut dyn Write) -> io::Result<()>) -> io::Result<bool> {
    Ok(false)
}

/// Tells whether the folder or mount does not allow to replace a file, which may still be written to.
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
