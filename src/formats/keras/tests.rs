//! Layers of real files give Keras's own outputs when they are computed from the loaded weights, step by step in f64.

use std::path::PathBuf;

use safetensors::{Dtype, SafeTensors};

use super::*;
use crate::activation::Activation;
use crate::source::format::Format;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keras").join(name)
}

fn opened(name: &str) -> KerasFile {
    KerasFile::of(&Input::open(&fixture(name)).unwrap()).unwrap()
}

fn numbers(array: &Array) -> Vec<f64> {
    match array.dtype {
        Dtype::F64 => array.bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
        _ => array.bytes.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
    }
}

fn apply(activation: &std::result::Result<Activation, String>, x: f64) -> f64 {
    match activation.as_ref().unwrap() {
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Relu => x.max(0.0),
        Activation::Affine { alpha, beta } => f64::from(*alpha) * x + f64::from(*beta),
        Activation::LeakyRelu { alpha } => {
            if x < 0.0 {
                f64::from(*alpha) * x
            } else {
                x
            }
        }
        Activation::ThresholdedRelu { alpha } => {
            if x > f64::from(*alpha) {
                x
            } else {
                0.0
            }
        }
        Activation::ScaledTanh { alpha, beta } => f64::from(*alpha) * (f64::from(*beta) * x).tanh(),
        Activation::HardSigmoid { alpha, beta } => (f64::from(*alpha) * x + f64::from(*beta)).clamp(0.0, 1.0),
        Activation::Elu { alpha } => {
            if x < 0.0 {
                f64::from(*alpha) * (x.exp() - 1.0)
            } else {
                x
            }
        }
        Activation::Softsign => x / (1.0 + x.abs()),
        Activation::Softplus => x.exp().ln_1p(),
    }
}

/// One sequence `[T][I]` through one direction, in processing order.
fn run(kind: Kind, w: &DirectionWeights, d: &KerasDirection, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let (wi, wh) = (numbers(&w.weight_ih), numbers(&w.weight_hh));
    let (inputs, units) = (w.weight_ih.shape[1], w.weight_hh.shape[1]);
    let rows = kind.gates() * units;
    let bias = |b: &Option<Array>| b.as_ref().map_or(vec![0.0; rows], numbers);
    let (bi, bh) = (bias(&w.bias_ih), bias(&w.bias_hh));
    let dot = |m: &[f64], row: usize, v: &[f64]| -> f64 { m[row * v.len()..].iter().zip(v).map(|(m, v)| m * v).sum() };
    assert_eq!((wi.len(), wh.len()), (rows * inputs, rows * units));
    let gate = |v| apply(&d.recurrent_activation, v);
    let act = |v| apply(&d.activation, v);
    let (mut h, mut c) = (vec![0.0; units], vec![0.0; units]);
    let mut steps: Vec<&Vec<f64>> = x.iter().collect();
    if d.go_backwards {
        steps.reverse();
    }
    let mut out = Vec::new();
    for x in steps {
        let i: Vec<f64> = (0..rows).map(|r| dot(&wi, r, x) + bi[r]).collect();
        let r: Vec<f64> = (0..rows).map(|r| dot(&wh, r, &h) + bh[r]).collect();
        h = match kind {
            Kind::SimpleRnn => (0..units).map(|u| act(i[u] + r[u])).collect(),
            Kind::Lstm => (0..units)
                .map(|u| {
                    let at = |g: usize| i[g * units + u] + r[g * units + u];
                    c[u] = gate(at(1)) * c[u] + gate(at(0)) * act(at(2));
                    gate(at(3)) * act(c[u])
                })
                .collect(),
            Kind::Gru => {
                let reset: Vec<f64> = (0..units).map(|u| gate(i[u] + r[u])).collect();
                let reset_h: Vec<f64> = reset.iter().zip(&h).map(|(r, h)| r * h).collect();
                (0..units)
                    .map(|u| {
                        let z = gate(i[units + u] + r[units + u]);
                        let n = 2 * units + u;
                        let recurrent = if d.reset_after { reset[u] * r[n] } else { dot(&wh, n, &reset_h) + bh[n] };
                        z * h[u] + (1.0 - z) * act(i[n] + recurrent)
                    })
                    .collect()
            }
        };
        out.push(h.clone());
    }
    out
}

/// Compares a layer with every output that the numbers beside the file have for it.
fn check(file: &KerasFile, beside: &str, index: usize, name: &str, merge: Option<Merge>) {
    let bytes = std::fs::read(fixture(beside)).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let read = |name: &str| {
        let view = stored.tensor(name).unwrap();
        let numbers: Vec<f64> = view.data().as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect();
        (view.shape().to_vec(), numbers)
    };
    let (shape, input) = read("input");
    let layer = &file.layers()[index];
    let loaded = file.load(index, None).unwrap();
    let outputs: Vec<Vec<f64>> = match (layer.bidirectional, merge) {
        (true, None) => vec![read(&format!("output/{name}/0")).1, read(&format!("output/{name}/1")).1],
        _ => vec![read(&format!("output/{name}")).1],
    };
    let mut got = vec![Vec::new(); outputs.len()];
    for b in 0..shape[0] {
        let x: Vec<Vec<f64>> =
            (0..shape[1]).map(|t| input[(b * shape[1] + t) * shape[2]..][..shape[2]].to_vec()).collect();
        let forward = run(loaded.kind, &loaded.forward, &layer.directions[0], &x);
        let Some(backward) = &loaded.backward else {
            got[0].extend(forward.concat());
            continue;
        };
        let mut backward = run(loaded.kind, backward, &layer.directions[1], &x);
        backward.reverse();
        let pairs = |f: fn(f64, f64) -> f64| -> Vec<f64> {
            forward.concat().iter().zip(backward.concat()).map(|(&a, b)| f(a, b)).collect()
        };
        match merge {
            None => {
                got[0].extend(forward.concat());
                got[1].extend(backward.concat());
            }
            Some(Merge::Concat) => forward.iter().zip(&backward).for_each(|(a, b)| got[0].extend(a.iter().chain(b))),
            Some(Merge::Sum) => got[0].extend(pairs(|a, b| a + b)),
            Some(Merge::Mul) => got[0].extend(pairs(|a, b| a * b)),
            Some(Merge::Ave) => got[0].extend(pairs(|a, b| (a + b) / 2.0)),
        }
    }
    for (got, expected) in got.iter().zip(&outputs) {
        assert_eq!(got.len(), expected.len(), "{name}");
        let worst = got.iter().zip(expected).map(|(a, b)| (a - b).abs() / (1.0 + b.abs())).fold(0.0, f64::max);
        assert!(worst < 3e-6, "{name} of {beside}: {worst}");
    }
}

fn names(file: &KerasFile) -> Vec<&str> {
    file.layers().iter().map(|layer| layer.name.as_str()).collect()
}

const MANY: [&str; 15] = [
    "zeta", "omega", "alpha", "beta", "plain", "unbiased", "back", "concat", "sum", "mul", "ave", "two", "cell",
    "stack", "swishy",
];

#[test]
fn every_option_gives_keras_outputs() {
    for (model, beside, swish) in [("k3.keras", "k3.safetensors", "silu"), ("tf2.keras", "tf2.safetensors", "swish")] {
        let file = opened(model);
        assert_eq!(names(&file), MANY, "{model}");
        for (index, layer) in file.layers().iter().enumerate() {
            match layer.name.as_str() {
                "stack" => {
                    let error = file.load(index, None).unwrap_err().to_string();
                    assert!(error.contains("StackedRNNCells"), "{error}");
                }
                "swishy" => {
                    let error = file.load(index, None).unwrap_err();
                    assert!(matches!(error, Error::Unsupported { .. }) && error.to_string().contains(swish), "{error}");
                    assert_eq!((layer.input_size, layer.units), (Some(2), Some(3)));
                }
                name => {
                    assert_eq!((layer.input_size, layer.units), (Some(2), Some(3)), "{name}");
                    check(&file, beside, index, name, layer.merge);
                }
            }
        }
    }
}

#[test]
fn hdf5_models_give_keras_outputs() {
    let few = ["one", "three", "two", "both"];
    for (model, beside) in [("k3few.h5", "k3few.safetensors"), ("tf2few.h5", "tf2few.safetensors")] {
        let from_path = opened(model);
        let from_bytes = KerasFile::of(&Input::from_bytes(std::fs::read(fixture(model)).unwrap())).unwrap();
        assert_eq!(from_path.layers(), from_bytes.layers());
        for (index, name) in few.iter().enumerate() {
            assert_eq!(names(&from_path)[index], *name);
            assert_eq!(from_path.load(index, None).unwrap(), from_bytes.load(index, None).unwrap());
            check(&from_path, beside, index, name, from_path.layers()[index].merge);
        }
    }
}

#[test]
fn weights_alone_give_the_same_weights() {
    for (weights, model) in [("k3few.weights.h5", "k3few.h5"), ("tf2few_weights.h5", "tf2few.h5")] {
        let (weights, model) = (opened(weights), opened(model));
        assert_eq!(weights.layers().len(), model.layers().len());
        for (index, layer) in model.layers().iter().enumerate() {
            let other = weights.layers().iter().position(|other| other.name == layer.name).unwrap();
            assert_eq!(weights.load(other, None).unwrap(), model.load(index, None).unwrap(), "{}", layer.name);
            assert_eq!(weights.layers()[other].kind, layer.kind);
            assert_eq!(weights.layers()[other].directions[0].reset_after, layer.directions[0].reset_after);
        }
    }
}

#[test]
fn layers_of_nested_models_are_told_apart() {
    for (model, beside) in [("k3nested.keras", "k3nested.safetensors"), ("tf2nested.h5", "tf2nested.safetensors")] {
        let file = opened(model);
        assert_eq!(names(&file), ["seq/inner", "other/inner", "frozen", "deep", "flat"]);
        for (index, name) in [(0, "seq/inner"), (1, "other/inner"), (2, "frozen"), (4, "flat")] {
            check(&file, beside, index, name, None);
        }
    }
}

#[test]
fn cudnn_layers_give_the_outputs_of_the_layers_that_keras_makes_of_them() {
    let file = opened("cudnn.h5");
    assert_eq!(names(&file), ["cl", "cg"]);
    check(&file, "cudnn.safetensors", 0, "cl", None);
    check(&file, "cudnn.safetensors", 1, "cg", None);
}

#[test]
fn the_structures_of_old_versions_give_the_same_outputs() {
    for (model, beside) in [("keras1.h5", "keras1.safetensors"), ("keras20.h5", "keras20.safetensors")] {
        let file = opened(model);
        assert_eq!(names(&file), ["lstm_1", "gru_1"]);
        assert_eq!((file.layers()[0].input_size, file.layers()[0].units), (Some(2), Some(3)));
        check(&file, beside, 0, "lstm_1", None);
        check(&file, beside, 1, "gru_1", None);
    }
}

#[test]
fn convolutional_layers_are_named() {
    let error = KerasFile::of(&Input::open(&fixture("convlstm.keras")).unwrap()).err().unwrap();
    assert!(error.to_string().contains("ConvLSTM1D \"convolved\""), "{error}");
}

fn is_keras(bytes: Vec<u8>) -> bool {
    matches!(Format::of(&Input::from_bytes(bytes)), Ok(Format::Keras))
}

#[test]
fn formats_are_told_by_content() {
    for name in ["k3.keras", "k3few.h5"] {
        assert!(is_keras(std::fs::read(fixture(name)).unwrap()));
    }
    assert!(!is_keras(std::fs::read(fixture("k3.safetensors")).unwrap()));
    assert!(!is_keras(b"PK\x03\x04".to_vec()));
}

/// Opens bytes and loads what can be loaded.
fn all_of(bytes: Vec<u8>) -> Option<Vec<LoadedKeras>> {
    let file = KerasFile::of(&Input::from_bytes(bytes)).ok()?;
    (0..file.layers().len()).map(|index| file.load(index, None).ok()).collect()
}

/// HDF5 files may end with room that nothing is in: without it, they are what they were.
#[test]
fn truncated_and_changed_files_are_errors_or_files() {
    for name in ["keras1.h5", "k3few.weights.h5", "k3nested.keras", "cudnn.h5"] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        let whole = all_of(bytes.clone()).unwrap();
        for length in (0..bytes.len()).step_by(37) {
            if let Some(loaded) = all_of(bytes[..length].to_vec()) {
                assert_eq!(loaded, whole, "{name} truncated to {length}");
            }
        }
        for at in (0..bytes.len()).step_by(53) {
            for value in [0, 0x7f, 0xff, bytes[at].wrapping_add(1)] {
                let mut changed = bytes.clone();
                changed[at] = value;
                all_of(changed);
            }
        }
    }
}

#[test]
fn texts_nested_too_deep_are_errors() {
    use std::io::Write;
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("config.json", options).unwrap();
    let open = r#"{"class_name":"TimeDistributed","config":{"layer":"#;
    zip.write_all(open.repeat(10_000).as_bytes()).unwrap();
    zip.start_file("model.weights.h5", options).unwrap();
    zip.write_all(&std::fs::read(fixture("k3few.weights.h5")).unwrap()).unwrap();
    let bytes = zip.finish().unwrap().into_inner();
    assert!(is_keras(bytes.clone()));
    let error = KerasFile::of(&Input::from_bytes(bytes)).err().unwrap().to_string();
    assert!(error.contains("recursion limit"), "{error}");
}

#[test]
fn a_bias_without_dimensions_is_an_error() {
    let mut bytes = std::fs::read(fixture("k3few.weights.h5")).unwrap();
    // The number of dimensions of one bias.
    assert_eq!(std::mem::replace(&mut bytes[15497], 0), 1);
    assert!(all_of(bytes).is_none());
    assert_eq!(canonical::bias_form(&[], 12), None);
}
