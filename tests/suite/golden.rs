//! The numbers are PyTorch's, and of a GRU that PyTorch has not NumPy's: fixtures/generate.py made them.

use std::path::PathBuf;

use wgpu_rnn::{Device, GruKind, Kind, Layer, LayerKind, LstmKind, Nonlinearity, Real, RnnKind, Tensor, TensorFile};

use crate::compare::{Tolerance, compare};
use crate::support::gpu;

pub fn fixtures() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "safetensors")).collect();
    files.sort();
    files
}

fn check<F: Real>(device: &Device, tolerance_name: &str) {
    let files = fixtures();
    assert!(files.len() >= 59, "only {} fixtures", files.len());
    for path in files {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let file = TensorFile::open(&path).unwrap();
        match file.layer("layer.").unwrap().kind {
            LayerKind::Lstm => check_layer(&name, &file, read::<LstmKind, F>(&file), device, tolerance_name),
            LayerKind::Gru => {
                let layer = read::<GruKind, F>(&file);
                assert_eq!(layer.config().reset_after(), !name.starts_with("gru_reset_before_"), "{name}");
                check_layer(&name, &file, layer, device, tolerance_name);
            }
            LayerKind::Rnn => {
                let relu = file.tensor::<f32>("relu").unwrap().unwrap().data()[0] == 1.0;
                let nonlinearity = if relu { Nonlinearity::Relu } else { Nonlinearity::Tanh };
                let layer = read::<RnnKind, F>(&file).with_nonlinearity(nonlinearity);
                check_layer(&name, &file, layer, device, tolerance_name);
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

fn read<K: Kind, F: Real>(file: &TensorFile) -> Layer<K, F> {
    Layer::<K>::from_tensor_file_as(file, "layer.").unwrap()
}

fn check_layer<K: Kind, F: Real>(
    name: &str,
    file: &TensorFile,
    layer: Layer<K, F>,
    device: &Device,
    tolerance_name: &str,
) {
    let tensor = |key: &str| -> Option<Tensor<F>> { file.tensor(key).unwrap() };
    let number = |key: &str| file.tensor::<f64>(key).unwrap().unwrap().data()[0];
    let placed = layer.with_batch_first(number("batch_first") == 1.0).to(device).unwrap();
    let initial: Vec<_> = ["h_0", "c_0"].into_iter().filter_map(tensor).collect();
    let initial = (!initial.is_empty()).then(|| K::state(initial).unwrap());
    let lengths = file.integers("lengths").unwrap();
    let lengths: Option<Vec<usize>> = lengths.map(|all| all.into_iter().map(|length| length as usize).collect());
    // The fixtures are padded with -7, so that padding is told from zeros.
    let input = tensor("input").unwrap();
    let mut request = placed.request(&input).state(initial.as_ref()).padding_value(-7.0);
    if let Some(lengths) = &lengths {
        request = request.lengths(lengths);
    }
    let (output, state) = request.run().unwrap();

    let tolerance = Tolerance::both(number(tolerance_name));
    let results = std::iter::once(&output).chain(K::arrays(&state));
    for (key, got) in ["output", "h_n", "c_n"].into_iter().zip(results) {
        let expected: Tensor<f64> = file.tensor(key).unwrap().unwrap();
        assert_eq!(got.shape(), expected.shape(), "{name} {key}");
        compare(&format!("{name} {key}"), got.data(), expected.data(), tolerance).unwrap();
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
