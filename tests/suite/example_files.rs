//! Examples that read and write files, run as a user runs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use wgpu_rnn::{Tensor, TensorFile};

/// Returns the command of an example, which Cargo builds next to the tests' own folder.
pub fn example(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().parent().unwrap().join("examples").join(name);
    let path = path.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{} is not built: run cargo build --examples", path.display());
    Command::new(path)
}

/// A folder with the files of one run of an example.
pub struct Folder {
    folder: tempfile::TempDir,
    example: &'static str,
}

impl Folder {
    pub fn new(example: &'static str) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), example }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.safetensors"))
    }

    pub fn save(&self, name: &str, tensors: &[(&str, &Tensor)]) {
        TensorFile::save(self.path(name), tensors).unwrap();
    }

    /// Runs the example over the files `model` and `input`.
    pub fn run(&self, more: &[&str]) -> Output {
        let mut command = example(self.example);
        for name in ["model", "input", "output"] {
            command.arg(format!("--{name}")).arg(self.path(name));
        }
        command.args(more).output().unwrap()
    }

    /// Returns the message of a run that must fail and leave no output file.
    pub fn rejected(&self, more: &[&str], status: i32) -> String {
        let output = self.run(more);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{message}");
        assert!(!self.path("output").exists());
        message.replace(&self.folder.path().display().to_string(), "DIR")
    }
}

pub fn read(path: &Path, name: &str) -> Tensor {
    TensorFile::open(path).unwrap().tensor(name).unwrap().unwrap()
}
