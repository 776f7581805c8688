//! What readers of tensor containers do with broken files.

use std::time::{Duration, Instant};

use safetensors::Dtype;

use super::{NUMPY, PYTORCH, Tensors, all_of_npz, all_of_pytorch, bytes};
use crate::error::{Error, Result};
use crate::formats::array::Array;
use crate::formats::container::Container;
use crate::formats::input::Input;
use crate::formats::npz::NpzFile;
use crate::formats::pytorch::PyTorchFile;

/// Reads all that can be read of bytes, and checks that it ends soon.
fn survives(bytes: &[u8]) -> [Result<Tensors>; 2] {
    let start = Instant::now();
    let input = || Input::from_bytes(bytes.to_vec());
    let _ = Container::of(&input());
    let results = [
        PyTorchFile::open(input()).and_then(|file| all_of_pytorch(&file)),
        NpzFile::open(input()).and_then(|file| all_of_npz(&file)),
    ];
    // Far more than a busy machine needs, and far less than what grows exponentially would.
    assert!(start.elapsed() < Duration::from_secs(20));
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(!matches!(error, Error::Io { .. }), "{error}");
    }
    results
}

#[test]
fn a_file_cut_off_anywhere_is_an_error() {
    for name in ["views.pt", "views.legacy.pt", "module_protocol4.legacy.pt", "unnamed.npz", "version1.npy"] {
        let bytes = bytes(name);
        for len in (0..bytes.len()).step_by(1 + bytes.len() / 1000) {
            assert!(survives(&bytes[..len]).iter().all(Result::is_err), "{name}, {len} bytes");
        }
    }
}

#[test]
fn a_changed_byte_is_an_error_or_another_file() {
    let files = PYTORCH.iter().chain(&NUMPY).map(|(name, _)| *name);
    for (seed, name) in files.chain(["torchscript.pt", "exported.pt2", "objects.npy"]).enumerate() {
        let original = bytes(name);
        let mut bytes = original.clone();
        // Every few bytes are changed, by another bit each time.
        for at in (seed..bytes.len()).step_by(29) {
            bytes[at] ^= [1, 0x80, 0xff, 0x10][at % 4];
            let _ = survives(&bytes);
            bytes[at] = original[at];
        }
    }
}

/// Returns a legacy file whose content is the pickle `content`, without storages.
fn legacy(content: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02".to_vec();
    bytes.extend_from_slice(content);
    bytes.extend_from_slice(b".\x80\x02].");
    bytes
}

#[test]
fn a_storage_of_old_files_can_be_a_part_of_another() {
    let id =
        b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x03X\x01\0\0\x001K\x01K\x02\x87tQ";
    let rebuild = [b"ctorch._utils\n_rebuild_tensor\n(", &id[..], b"K\x01K\x01\x85K\x01\x85tR"].concat();
    let mut bytes = legacy(&rebuild);
    bytes.truncate(bytes.len() - 4);
    bytes.extend_from_slice(b"\x80\x02]X\x01\0\0\x000a.\x03\0\0\0\0\0\0\0");
    [1.0_f32, 2.0, 3.0].iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    let array = PyTorchFile::open(Input::from_bytes(bytes)).unwrap().read("tensor").unwrap().unwrap();
    assert_eq!(array, Array { dtype: Dtype::F32, shape: vec![1], bytes: 3.0_f32.to_le_bytes().to_vec() });
}

#[test]
fn hostile_pickles_are_rejected_soon() {
    let tensor = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ";
    assert!(survives(&legacy(b"}"))[0].as_ref().unwrap().is_empty());

    // Lists in lists, and tuples around tuples.
    survives(&legacy(&[b"]".repeat(10_000), b"a".repeat(9_999)].concat()))[0].as_ref().unwrap_err();
    survives(&legacy(&[b")".to_vec(), b"\x85".repeat(100_000)].concat()))[0].as_ref().unwrap_err();
    // A list that contains itself is finite in memory, and has no tensors.
    assert!(survives(&legacy(b"]q\0h\0a"))[0].as_ref().unwrap().is_empty());

    // Each list holds the one before ten times over.
    let mut doubled = b"]q\0".to_vec();
    for level in 1..60_u8 {
        doubled.extend([b'0', b']', b'q', level, b'(']);
        (0..10).for_each(|_| doubled.extend([b'h', level - 1]));
        doubled.push(b'e');
    }
    survives(&legacy(&doubled))[0].as_ref().unwrap_err();

    // Lengths that are not there, and instructions that take what is not there.
    for code in [
        &b"B\xff\xff\xff\xff"[..],
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x8d\0\0\0\0\0\0\0\x80",
        b"\x8b\xff\xff\xff\x7f",
        b"X\xff\xff\xff\xff",
    ] {
        survives(&legacy(code))[0].as_ref().unwrap_err();
    }
    for code in [
        &b"t"[..],
        b"R",
        b"Q",
        b"a",
        b"u",
        b"b",
        b"2",
        b"0",
        b"1",
        b"\x93",
        b"(\x85",
        b"N(a",
        b"o",
        b"(o",
        b"h\x05",
        b"Ns",
        b"\xfe",
    ] {
        survives(&legacy(code))[0].as_ref().unwrap_err();
    }

    // A storage of 2^62 elements, and views that are larger than all memory.
    for sizes in [
        &b"K\x02\x85K\x01\x85"[..],
        b"\x8a\x08\0\0\0\0\0\0\0\x40\x85K\0\x85",
        b"\x8a\x05\0\0\0\0\x10\x85K\0\x85",
        b"J\xff\xff\xff\xff\x85K\x01\x85",
    ] {
        let rebuild = [b"ctorch._utils\n_rebuild_tensor_v2\n(", &tensor[..], b"K\0", sizes, b"\x89}tR"].concat();
        let mut bytes = legacy(&rebuild);
        bytes.truncate(bytes.len() - 4);
        bytes.extend_from_slice(b"\x80\x02]X\x01\0\0\x000a.\x01\0\0\0\0\0\0\0\0\0\x80\x3f");
        survives(&bytes)[0].as_ref().unwrap_err();
    }

    // Copies of the same list, and the same long key over and over.
    let list = [&b"("[..], &b"N".repeat(100_000), b"lq\0"].concat();
    for class in ["__builtin__\nset", "collections\nOrderedDict", "copy_reg\n_reconstructor"] {
        let call = format!("0c{class}\nq\x01").into_bytes();
        let calls = b"0h\x01(h\0h\0h\0tR".repeat(20_000);
        let _ = survives(&legacy(&[&list[..], &call, &calls].concat()));
    }
    let key = [&b"X\0\x10\0\0"[..], &b"k".repeat(4096), b"q\x01"].concat();
    let id = [&key[..], b"(X\x07\0\0\0storagectorch\nFloatStorage\nh\x01NK\x01tq\x02"].concat();
    let _ = survives(&legacy(&[&id[..], &b"0h\x02Q".repeat(100_000)].concat()));
    let _ = survives(&legacy(&[&key[..], &b"0h\x01h\x01\x93".repeat(100_000)].concat()));

    // Endless values.
    survives(&legacy(&b"N".repeat(1 << 20))).into_iter().for_each(drop);
}

#[test]
fn hostile_arrays_are_rejected_soon() {
    let npy = |header: &[u8]| [b"\x93NUMPY\x02\0", &(header.len() as u32).to_le_bytes()[..], header].concat();
    let good = |shape: &str| npy(format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}").as_bytes());
    assert!(survives(&good("(0,)"))[1].is_ok());
    for shape in [
        "(9223372036854775808,)",
        "(4294967296, 4294967296)",
        "(18446744073709551616,)",
        "(1,)",
        "(-1,)",
        "3",
        "(0, 9223372036854775807, 9)",
    ] {
        survives(&good(shape))[1].as_ref().unwrap_err();
    }
    survives(&good(&"(".repeat(10_000)))[1].as_ref().unwrap_err();
    survives(&good(&format!("({})", "0,".repeat(10_000))))[1].as_ref().unwrap_err();
    survives(b"\x93NUMPY\x02\0\xff\xff\xff\xff{")[1].as_ref().unwrap_err();
    survives(b"\x93NUMPY\x09\0\0\0\0\0\0\0")[1].as_ref().unwrap_err();
}

#[test]
fn archives_of_nothing_but_marks_are_read_soon() {
    for mark in [&b"PK\x05\x06"[..], b"PK\x01\x02", b"PK\x06\x06", b"PK\x06\x07"] {
        for pad in [0, 18, 40] {
            let mut bytes = b"PK\x03\x04".to_vec();
            let unit = [mark, &vec![0; pad]].concat();
            bytes.extend(unit.repeat((4 << 20) / unit.len()));
            bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff\x10\0\0\0\x10\0\0\0\0\0");
            let _ = survives(&bytes);
        }
    }
}

#[test]
fn a_compressed_pickle_of_endless_values_is_rejected() {
    use std::io::Write;
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive.start_file("bomb/data.pkl", zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(&b"]".repeat(100 << 20)).unwrap();
    let bytes = archive.finish().unwrap().into_inner();
    assert!(bytes.len() < 200_000);
    survives(&bytes)[0].as_ref().unwrap_err();
}
