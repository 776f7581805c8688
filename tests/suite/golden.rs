//! The numbers are PyTorch's: fixtures/generate.py made them.

use std::path::PathBuf;

use wgpu_rnn::{Device, Lstm, LstmState, PlacedLstm, Real, Tensor, TensorFile};

use crate::compare::{Tolerance, compare};
use crate::support::gpu;

fn fixtures() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "safetensors")).collect();
    files.sort();
    files
}

fn check<F: Real>(device: &Device, tolerance_name: &str) {
    let files = fixtures();
    assert!(files.len() >= 15, "only {} fixtures", files.len());
    for path in files {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let file = TensorFile::open(&path).unwrap();
        let tensor = |key: &str| -> Option<Tensor<F>> { file.tensor(key).unwrap() };
        let number = |key: &str| file.tensor::<f64>(key).unwrap().unwrap().data()[0];
        let lstm: Lstm<F> = Lstm::from_tensor_file(&file, "lstm.").unwrap().batch_first(number("batch_first") == 1.0);
        let placed: PlacedLstm<F> = lstm.to(device).unwrap();
        let initial = tensor("h_0").map(|h| LstmState { h, c: tensor("c_0").unwrap() });
        let (output, state) = placed.forward(&tensor("input").unwrap(), initial.as_ref()).unwrap();

        let tolerance = Tolerance::both(number(tolerance_name));
        for (key, got) in [("output", &output), ("h_n", &state.h), ("c_n", &state.c)] {
            let expected: Tensor<f64> = file.tensor(key).unwrap().unwrap();
            assert_eq!(got.shape(), expected.shape(), "{name} {key}");
            compare(&format!("{name} {key}"), got.data(), expected.data(), tolerance).unwrap();
        }
    }
}

#[test]
fn cpu_f64_is_pytorch_f64() {
    check::<f64>(&Device::cpu(), "tolerance_f64");
}

#[test]
fn cpu_f32_is_pytorch() {
    check::<f32>(&Device::cpu(), "tolerance_f32");
}

#[test]
fn gpu_is_pytorch() {
    if let Some(gpu) = gpu() {
        check::<f32>(&gpu, "tolerance_f32");
    }
}
