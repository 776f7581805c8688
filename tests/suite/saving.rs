//! Saving a file: whole or not at all where that can be had, in place where it cannot.

use std::path::Path;

use wgpu_rnn::{Error, Tensor, TensorFile};

use crate::support::uniform;

fn save(path: impl AsRef<Path>, tensor: &Tensor) -> Result<(), Error> {
    TensorFile::save(path, &[("x", tensor)])
}

fn read(path: impl AsRef<Path>) -> Tensor {
    TensorFile::open(path).unwrap().tensor("x").unwrap().unwrap()
}

fn count_files(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

/// The writer of the format's own crate is the judge.
#[test]
fn bytes_are_those_of_the_formats_own_writer() {
    use safetensors::{Dtype, tensor::TensorView};
    let tensors = [("b", uniform(&[3, 2], 1)), ("a.x", uniform(&[5], 2)), ("empty", uniform(&[2, 0], 3))];
    let named: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, t)| t.data().iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, t), bytes)| (*name, TensorView::new(Dtype::F32, t.shape().to_vec(), bytes).unwrap()));
    assert_eq!(TensorFile::serialize(&named).unwrap(), safetensors::serialize(views, None).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    TensorFile::save(&path, &named).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), TensorFile::serialize(&named).unwrap());
}

/// Writers do not disturb each other, and a reader sees a whole file at any time.
#[test]
fn a_file_that_several_threads_save_is_always_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let (small, large) = (uniform(&[3], 1), uniform(&[5000], 2));
    save(&path, &small).unwrap();
    std::thread::scope(|scope| {
        for tensor in [&small, &large] {
            scope.spawn(|| (0..30).for_each(|_| save(&path, tensor).unwrap()));
        }
        for _ in 0..60 {
            let x = read(&path);
            assert!(x == small || x == large);
        }
    });
    assert_eq!(count_files(folder.path()), 1);
}

/// A file that is open keeps the contents it had when it was opened.
#[cfg(unix)]
#[test]
fn a_file_that_is_replaced_while_it_is_open_is_read_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let (old, new) = (uniform(&[700], 1), uniform(&[3], 2));
    save(&path, &old).unwrap();
    let file = TensorFile::open(&path).unwrap();
    save(&path, &new).unwrap();
    assert_eq!(file.tensor::<f32>("x").unwrap().unwrap(), old);
    assert_eq!(read(&path), new);
}

#[test]
fn an_error_leaves_the_old_file_and_no_partial_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    save(&path, &uniform(&[3], 1)).unwrap();
    let twice = [("x", &uniform(&[2], 2)), ("x", &uniform(&[2], 3))];
    assert!(TensorFile::save(&path, &twice).is_err());
    assert_eq!(read(&path), uniform(&[3], 1));
    assert_eq!(count_files(folder.path()), 1);
    let error = save(folder.path().join("no/such/folder"), &uniform(&[3], 1)).unwrap_err();
    assert!(
        matches!(&error, Error::Io { action: "written", source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    );
}

#[cfg(unix)]
mod unix {
    use std::io::{Read, Write};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::process::{Command, Stdio};

    use super::*;

    /// Partial files of a process that was killed have whatever names; the next process may have its id.
    #[test]
    fn leftovers_of_a_killed_process_hinder_nobody() {
        let folder = tempfile::tempdir().unwrap();
        for count in 0..100 {
            let name = format!(".wgpu-rnn-{}-{count}.partial", std::process::id());
            std::fs::write(folder.path().join(name), b"left").unwrap();
        }
        for _ in 0..3 {
            save(folder.path().join("x"), &uniform(&[3], 1)).unwrap();
        }
        assert_eq!(count_files(folder.path()), 101);
    }

    #[test]
    fn links_and_permissions_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link, chain) = (folder.path().join("file"), folder.path().join("link"), folder.path().join("chain"));
        std::fs::write(&file, b"old").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
        symlink("file", &link).unwrap(); // relative to its folder, not to that of the process
        symlink(&link, &chain).unwrap();
        save(&chain, &uniform(&[3], 1)).unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(std::fs::symlink_metadata(&chain).unwrap().is_symlink());
        assert_eq!(read(&file), uniform(&[3], 1));
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_new_file_has_the_permissions_of_any_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, other) = (folder.path().join("ours"), folder.path().join("other"));
        save(&ours, &uniform(&[3], 1)).unwrap();
        std::fs::write(&other, b"").unwrap();
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&other));
    }

    #[test]
    fn a_dangling_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let link = folder.path().join("link");
        symlink("data/file", &link).unwrap();
        save(&link, &uniform(&[3], 1)).unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(read(folder.path().join("data/file")), uniform(&[3], 1));
        let round = folder.path().join("round");
        symlink("round", &round).unwrap();
        assert!(save(&round, &uniform(&[3], 1)).is_err());
    }

    #[test]
    fn the_owner_of_a_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, b"old").unwrap();
        if std::os::unix::fs::chown(&file, Some(12345), Some(54321)).is_err() {
            eprintln!("SKIPPED: giving a file to another owner takes root");
            return;
        }
        save(&file, &uniform(&[3], 1)).unwrap();
        let about = std::fs::metadata(&file).unwrap();
        assert_eq!((about.uid(), about.gid()), (12345, 54321));
        assert_eq!(read(&file), uniform(&[3], 1));
    }

    #[test]
    fn devices_and_pipes_are_written_to() {
        save("/dev/null", &uniform(&[3], 1)).unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        if !Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: no mkfifo");
            return;
        }
        // Larger than the buffer of a pipe, so that writer and reader must meet.
        let x = uniform(&[50_000], 1);
        std::thread::scope(|scope| {
            scope.spawn(|| save(&pipe, &x).unwrap());
            // A pipe is read as well, whole.
            assert_eq!(read(&pipe), x);
        });
    }

    /// Runs the `infer` example with an output path, in a shell that redirects it.
    fn infer_in_shell(folder: &Path, line: &str) -> Vec<u8> {
        use wgpu_rnn::{Lstm, LstmConfig};
        let path = |name: &str| folder.join(format!("{name}.safetensors"));
        Lstm::random(LstmConfig::new(2, 3), 1).unwrap().save_safetensors(path("model"), "").unwrap();
        TensorFile::save(path("input"), &[("input", &uniform(&[4, 2], 2))]).unwrap();
        let infer = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/infer");
        let mut shell = Command::new("bash")
            .args(["-c", line])
            .current_dir(folder)
            .env("INFER", infer)
            .env("ARGUMENTS", "--device cpu --model model.safetensors --input input.safetensors --output")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut printed = Vec::new();
        shell.stdout.take().unwrap().read_to_end(&mut printed).unwrap();
        let done = shell.wait_with_output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        printed
    }

    /// A file in the middle of what else is printed.
    fn assert_holds_output(bytes: &[u8], name: &str) {
        let at = bytes.windows(10).position(|part| part == br#"{"c_n":{"d"#);
        assert!(at.is_some_and(|at| at >= 8), "{name}");
        // The header's size before it says where the data ends.
        let start = at.unwrap() - 8;
        let header = u64::from_le_bytes(bytes[start..start + 8].try_into().unwrap()) as usize;
        // output [4, 3], h_n and c_n [1, 3], four bytes each
        let file = TensorFile::from_bytes(&bytes[start..start + 8 + header + 4 * (12 + 3 + 3)]).unwrap();
        assert_eq!(file.shape("output"), Some(&[4, 3][..]), "{name}");
    }

    #[test]
    fn standard_output_and_process_substitution_are_written_to() {
        if !Command::new("bash").arg("-c").arg("true").status().is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: no bash");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let files = || count_files(folder.path());
        let piped = infer_in_shell(folder.path(), "$INFER $ARGUMENTS /dev/stdout | cat");
        assert_holds_output(&piped, "/dev/stdout into a pipe");
        assert_eq!(files(), 2);
        infer_in_shell(folder.path(), "$INFER $ARGUMENTS >(cat > copy) > /dev/null; wait $!");
        assert_holds_output(&std::fs::read(folder.path().join("copy")).unwrap(), ">(…)");
        // Redirected into a file, the descriptor keeps its file: what the shell prints next is there.
        infer_in_shell(folder.path(), "{ $INFER $ARGUMENTS /dev/stdout; echo the end; } > both");
        let both = std::fs::read(folder.path().join("both")).unwrap();
        assert!(both.windows(7).any(|part| part == b"the end"), "the file behind the descriptor was replaced");
        assert_eq!(files(), 4);
    }

    /// Undoes on drop, so that a failed assertion leaves nothing mounted or immutable behind.
    struct Undo<'a>(Command, &'a Path);

    impl Drop for Undo<'_> {
        fn drop(&mut self) {
            let _ = self.0.arg(self.1).output();
        }
    }

    fn as_root(program: &str, arguments: &[&str]) -> bool {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    }

    #[test]
    fn a_mounted_file_is_written_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, outside) = (folder.path().join("inside"), folder.path().join("outside"));
        std::fs::write(&inside, b"").unwrap();
        std::fs::write(&outside, vec![b'-'; 10_000]).unwrap();
        if !as_root("mount", &["--bind", outside.to_str().unwrap(), inside.to_str().unwrap()]) {
            eprintln!("SKIPPED: a bind mount takes root");
            return;
        }
        let _undo = Undo(Command::new("umount"), &inside);
        save(&inside, &uniform(&[3], 1)).unwrap();
        // Nothing of the longer file before stays behind it.
        assert_eq!(read(&outside), uniform(&[3], 1));
        assert_eq!(count_files(folder.path()), 2);
    }

    #[test]
    fn a_writable_file_in_a_read_only_folder_is_written_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let locked = folder.path().join("locked");
        std::fs::create_dir(&locked).unwrap();
        let file = locked.join("file");
        std::fs::write(&file, b"old").unwrap();
        std::fs::set_permissions(&locked, PermissionsExt::from_mode(0o555)).unwrap();
        // Permissions do not bind root, an immutable folder does.
        let is_bound = || std::fs::write(locked.join("probe"), b"").is_err();
        let mut undo = None;
        if !is_bound() {
            let _ = std::fs::remove_file(locked.join("probe"));
            if as_root("chattr", &["+i", locked.to_str().unwrap()]) {
                let mut command = Command::new("chattr");
                command.arg("-i");
                undo = Some(Undo(command, &locked));
            }
        }
        if !is_bound() {
            let _ = std::fs::remove_file(locked.join("probe"));
            eprintln!("SKIPPED: nothing here makes a folder read-only");
            return;
        }
        save(&file, &uniform(&[3], 1)).unwrap();
        assert_eq!(read(&file), uniform(&[3], 1));
        // A new file there is an error.
        assert!(save(locked.join("new"), &uniform(&[3], 1)).is_err());
        drop(undo);
        std::fs::set_permissions(&locked, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// A file without write permission is not replaced, even if its folder allows it.
    #[test]
    fn a_file_that_may_not_be_written_to_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, b"old").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o444)).unwrap();
        if std::fs::OpenOptions::new().write(true).open(&file).is_ok_and(|mut file| file.flush().is_ok()) {
            eprintln!("SKIPPED: permissions do not bind this user");
            return;
        }
        assert!(save(&file, &uniform(&[3], 1)).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"old");
    }
}
