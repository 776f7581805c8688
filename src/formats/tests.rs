//! What readers of tensor containers give for files of PyTorch and NumPy.

mod hostile;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use safetensors::{Dtype, SafeTensors};

use crate::error::{Error, Result};
use crate::formats::array::Array;
use crate::formats::container::Container;
use crate::formats::input::Input;
use crate::formats::npz::NpzFile;
use crate::formats::pytorch::PyTorchFile;

type Tensors = BTreeMap<String, Array>;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/containers").join(name)
}

fn open_pytorch(path: PathBuf) -> Result<PyTorchFile> {
    Input::open(&path).and_then(PyTorchFile::open)
}

fn open_npz(path: PathBuf) -> Result<NpzFile> {
    Input::open(&path).and_then(NpzFile::open)
}

fn container(input: Result<Arc<Input>>) -> Result<Option<Container>> {
    Container::of(&input?)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

fn expected(name: &str) -> Tensors {
    let bytes = bytes(&format!("{name}.safetensors"));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        (name, Array { dtype: view.dtype(), shape: view.shape().to_vec(), bytes: view.data().to_vec() })
    });
    tensors.collect()
}

/// Reads every tensor of a file, and checks that each is what its entry says.
fn all_of_pytorch(file: &PyTorchFile) -> Result<Tensors> {
    let read = file.entries().iter().map(|(name, entry)| {
        let array = file.read(name)?.unwrap();
        assert_eq!((array.dtype, &array.shape), (entry.dtype, &entry.shape));
        assert_eq!(array.bytes.len(), array.shape.iter().product::<usize>() * array.dtype.bitsize() / 8);
        Ok((name.clone(), array))
    });
    read.collect()
}

fn all_of_npz(file: &NpzFile) -> Result<Tensors> {
    let read = file.entries().iter().map(|(name, entry)| {
        let array = file.read(name)?.unwrap();
        assert_eq!((array.dtype, &array.shape), (entry.dtype, &entry.shape));
        Ok((name.clone(), array))
    });
    read.collect()
}

fn check_pytorch(name: &str, expected_name: &str) {
    let expected = expected(expected_name);
    let opened = all_of_pytorch(&open_pytorch(path(name)).unwrap()).unwrap();
    assert_eq!(opened.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{name}");
    assert_eq!(opened, expected, "{name}");
    assert_eq!(
        all_of_pytorch(&PyTorchFile::open(Input::from_bytes(bytes(name))).unwrap()).unwrap(),
        expected,
        "{name}"
    );
    assert_eq!(container(Input::open(&path(name))).unwrap(), Some(Container::PyTorch), "{name}");
    assert_eq!(container(Ok(Input::from_bytes(bytes(name)))).unwrap(), Some(Container::PyTorch), "{name}");
}

fn check_npz(name: &str, expected_name: &str) {
    let expected = expected(expected_name);
    assert_eq!(all_of_npz(&open_npz(path(name)).unwrap()).unwrap(), expected, "{name}");
    assert_eq!(all_of_npz(&NpzFile::open(Input::from_bytes(bytes(name))).unwrap()).unwrap(), expected, "{name}");
    assert_eq!(container(Input::open(&path(name))).unwrap(), Some(Container::NumPy), "{name}");
    assert_eq!(container(Ok(Input::from_bytes(bytes(name)))).unwrap(), Some(Container::NumPy), "{name}");
}

/// The files that are read whole, from each container.
const PYTORCH: [(&str, &str); 25] = [
    ("a_stem_of_21_letters_.pt", "bare"),
    ("dtypes.pt", "dtypes"),
    ("dtypes.legacy.pt", "dtypes"),
    ("dtypes_big_endian.pt", "dtypes"),
    ("unsigned.pt", "unsigned"),
    ("unsigned.legacy.pt", "unsigned"),
    ("views.pt", "views"),
    ("views.legacy.pt", "views"),
    ("views_compressed.pt", "views"),
    ("views_without_checksums.pt", "views"),
    ("checkpoint.pt", "checkpoint"),
    ("checkpoint.legacy.pt", "checkpoint"),
    ("checkpoint_protocol1.pt", "checkpoint"),
    ("checkpoint_protocol5.pt", "checkpoint"),
    ("module.pt", "module"),
    ("module.legacy.pt", "module"),
    ("module_protocol1.pt", "module"),
    ("module_protocol4.legacy.pt", "module"),
    ("module_inside.pt", "module_inside"),
    ("module_inside.legacy.pt", "module_inside"),
    ("parameter.pt", "parameter"),
    ("parameter.legacy.pt", "parameter"),
    ("bare.pt", "bare"),
    ("bare.legacy.pt", "bare"),
    ("rejected.pt", "rejected"),
];

const NUMPY: [(&str, &str); 6] = [
    ("numbers.npz", "numbers"),
    ("numbers_compressed.npz", "numbers"),
    ("unnamed.npz", "unnamed"),
    ("version1.npy", "version"),
    ("version2.npy", "version"),
    ("version3.npy", "version"),
];

#[test]
fn pytorch_files_hold_the_tensors_that_torch_wrote() {
    for (name, expected) in PYTORCH {
        check_pytorch(name, expected);
    }
}

#[test]
fn numpy_files_hold_the_arrays_that_numpy_wrote() {
    for (name, expected) in NUMPY {
        check_npz(name, expected);
    }
    let fortran = open_npz(path("fortran.npy")).unwrap().read("arr_0").unwrap().unwrap();
    let floats: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
    assert_eq!(fortran, Array { dtype: Dtype::F32, shape: vec![2, 3], bytes: floats });
}

#[test]
fn tensors_that_cannot_be_read_have_no_entry_and_errors_of_their_own() {
    for name in ["rejected.pt", "rejected.legacy.pt"] {
        let file = open_pytorch(path(name)).unwrap();
        assert_eq!(file.entries().keys().collect::<Vec<_>>(), ["weight"]);
        for (tensor, why) in [
            ("quantised", "quantised"),
            ("sparse", "sparse"),
            ("complex", "Complex"),
            ("meta", "meta"),
            ("array", "NumPy"),
        ] {
            match file.read(tensor) {
                Err(error @ Error::Unsupported { .. }) => assert!(error.to_string().contains(why), "{error}"),
                other => panic!("{name} {tensor}: {other:?}"),
            }
        }
        assert!(file.read("absent").unwrap().is_none());
    }
    let file = open_npz(path("numbers.npz")).unwrap();
    for name in ["objects", "text", "complex", "dates", "fields"] {
        assert!(!file.entries().contains_key(name));
        assert!(matches!(file.read(name), Err(Error::Unsupported { what, .. }) if what.contains(name)));
    }
    assert!(file.read("absent").unwrap().is_none());
    let file = open_npz(path("objects.npy")).unwrap();
    assert!(file.entries().is_empty());
    assert!(matches!(file.read("arr_0"), Err(Error::Unsupported { why, .. }) if why.contains("objects")));
}

#[test]
fn programs_are_rejected_by_name() {
    for (name, what) in [("torchscript.pt", "TorchScript"), ("exported.pt2", "torch.export")] {
        match open_pytorch(path(name)) {
            Err(error @ Error::Unsupported { .. }) => assert!(error.to_string().contains(what), "{error}"),
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(container(Input::open(&path(name))).unwrap(), Some(Container::PyTorch));
    }
}

#[test]
fn the_calls_of_a_pickle_are_not_made() {
    let file = open_pytorch(path("evil.pt")).unwrap();
    assert_eq!(all_of_pytorch(&file).unwrap().keys().collect::<Vec<_>>(), ["weight"]);
    assert!(!std::path::Path::new("a_pickle_was_run").exists());
}

#[test]
fn other_files_are_no_containers_of_these_formats() {
    for name in ["model.keras", "dtypes.safetensors", "make.py"] {
        assert_eq!(container(Input::open(&path(name))).unwrap(), None, "{name}");
        assert!(matches!(open_pytorch(path(name)), Err(Error::Format { .. })), "{name}");
    }
    assert!(matches!(container(Input::open(&path("absent"))), Err(Error::Io { .. })));
    assert!(matches!(open_pytorch(path("absent")), Err(Error::Io { .. })));
    assert!(matches!(open_npz(path("absent")), Err(Error::Io { .. })));
}

#[test]
fn several_threads_read_at_once() {
    for (name, expected_name) in [("views.pt", "views"), ("views.legacy.pt", "views"), ("views_compressed.pt", "views")]
    {
        let expected = expected(expected_name);
        let file = open_pytorch(path(name)).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..20).for_each(|_| assert_eq!(all_of_pytorch(&file).unwrap(), expected)));
            }
        });
    }
    let file = open_npz(path("numbers_compressed.npz")).unwrap();
    let expected = expected("numbers");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5).for_each(|_| assert_eq!(all_of_npz(&file).unwrap(), expected)));
        }
    });
}
