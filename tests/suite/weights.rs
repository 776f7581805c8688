//! Files and formats: what is written is read back, what PyTorch names is found, other number types are converted.

use half::{bf16, f16};
use safetensors::{Dtype, tensor::TensorView};
use wgpu_rnn::{ConcatGates, Device, Lstm, LstmConfig, Real, Tensor, TensorFile};

use crate::compare::{Tolerance, compare};
use crate::support::uniform;

fn configs() -> Vec<LstmConfig> {
    vec![
        LstmConfig::new(3, 5),
        LstmConfig::new(1, 1).with_bias(false),
        LstmConfig::new(8, 4).with_num_layers(12),
        LstmConfig::new(4, 7).with_num_layers(3).with_bidirectional(true).with_bias(false),
        LstmConfig::new(4, 1).with_num_layers(2).with_bidirectional(true),
    ]
}

fn round_trip<F: Real>(prefix: &str) {
    let folder = tempfile::tempdir().unwrap();
    for config in configs() {
        let path = folder.path().join("model.safetensors");
        let model: Lstm<F> = Lstm::random(config, 1).unwrap().cast().unwrap();
        model.save_safetensors(&path, prefix).unwrap();
        let file = TensorFile::open(&path).unwrap();
        assert_eq!(Lstm::from_tensor_file_as(&file, prefix).unwrap(), model);
        assert_eq!(file.recurrent_prefixes(), [prefix]);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no partial file stays behind");
}

#[test]
fn what_is_saved_is_read_back() {
    round_trip::<f32>("");
    round_trip::<f64>("model.encoder.rnn.");
}

/// A file of `tensors` in another number type.
fn file_of(dtype: Dtype, tensors: &[(&str, Vec<usize>, Vec<u8>)]) -> TensorFile {
    let views =
        tensors.iter().map(|(name, shape, bytes)| (*name, TensorView::new(dtype, shape.clone(), bytes).unwrap()));
    TensorFile::from_bytes(safetensors::serialize(views, None).unwrap()).unwrap()
}

#[test]
fn half_precision_files_are_converted() {
    let values = [0.5_f32, -1.25, 3.140_625, 65504.0];
    let f16_bytes: Vec<u8> = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
    let file = file_of(Dtype::F16, &[("x", vec![2, 2], f16_bytes)]);
    assert_eq!(file.tensor::<f32>("x").unwrap().unwrap(), Tensor::new([2, 2], values).unwrap());

    let values = [0.5_f32, -1.25, 3.140_625, 1e30];
    let rounded = values.map(|v| bf16::from_f32(v).to_f64());
    let bf16_bytes: Vec<u8> = values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
    let file = file_of(Dtype::BF16, &[("x", vec![4], bf16_bytes)]);
    assert_eq!(file.tensor::<f64>("x").unwrap().unwrap(), Tensor::new([4], rounded).unwrap());
}

#[test]
fn a_seed_is_a_model() {
    let config = LstmConfig::new(10, 16);
    let model = |seed| Lstm::random(config.clone(), seed).unwrap();
    assert_eq!(model(7), model(7));
    assert_ne!(model(7), model(8));
    // The same numbers on every machine and with every release: what is saved as a seed must not change.
    assert_eq!(&model(7).layers()[0].weight_ih().data()[..3], &[0.158355, -0.083800256, -0.12663269]);
    // PyTorch's rule: uniform in ±1/√H. Of 1,700 draws some come near the bounds, and their mean near 0.
    let draws: Vec<f32> = model(7)
        .layers()
        .iter()
        .flat_map(|w| {
            [w.weight_ih(), w.weight_hh(), w.bias_ih().unwrap(), w.bias_hh().unwrap()]
                .map(|t| t.data().to_vec())
                .concat()
        })
        .collect();
    let largest = draws.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    assert!((0.24..=0.25).contains(&largest), "{largest}");
    // The standard error of the mean is 0.25/√3/√1700 = 0.0035.
    assert!((draws.iter().sum::<f32>() / draws.len() as f32).abs() < 0.0175);
}

#[test]
fn one_linear_per_gate_is_the_same_lstm() {
    let config = LstmConfig::new(3, 5).with_num_layers(2);
    let model: Lstm<f64> = Lstm::random(config, 2).unwrap().cast().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let gates: Vec<ConcatGates<f64>> = model.to_concat_gates().unwrap();
    assert_eq!((gates.len(), gates[0].forget.weight.shape()), (2, &[5, 8][..]));
    let mut read = Vec::new();
    for (k, layer) in gates.iter().enumerate() {
        let path = folder.path().join(format!("{k}.safetensors"));
        layer.save_safetensors(&path, "cells.").unwrap();
        read.push(ConcatGates::from_tensor_file_as(&TensorFile::open(&path).unwrap(), "cells.").unwrap());
    }
    assert_eq!(read, gates);
    let again = Lstm::from_concat_gates(&read).unwrap();
    let x: Tensor<f64> = uniform(&[4, 2, 3], 3).cast().unwrap();
    let run = |model: &Lstm<f64>| model.to(&Device::cpu()).unwrap().forward(&x, None).unwrap().0;
    // The two biases were added into one, so sums round differently.
    compare("output", run(&again).data(), run(&model).data(), Tolerance::both(1e-14)).unwrap();
}

/// The definition, written out: gate = Linear([x, h]), as people write it by hand.
#[test]
fn gates_mean_what_their_names_say() {
    let model: Lstm<f64> = Lstm::random(LstmConfig::new(2, 3), 4).unwrap().cast().unwrap();
    let gates = model.to_concat_gates().unwrap().remove(0);
    let (x, mut h, mut c) = ([0.3, -0.7], [0.1, 0.2, -0.4], [0.5, -0.6, 0.7]);
    let linear = |gate: &wgpu_rnn::GateLinear<f64>, h: &[f64; 3], u: usize| {
        let row = &gate.weight.data()[u * 5..(u + 1) * 5];
        let concatenated = x.iter().chain(h);
        row.iter().zip(concatenated).map(|(w, v)| w * v).sum::<f64>() + gate.bias.as_ref().unwrap().data()[u]
    };
    let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
    let state = wgpu_rnn::LstmState { h: Tensor::new([1, 3], h).unwrap(), c: Tensor::new([1, 3], c).unwrap() };
    let (_, last) = model.to(&Device::cpu()).unwrap().forward(&Tensor::new([1, 2], x).unwrap(), Some(&state)).unwrap();
    let old = h;
    for u in 0..3 {
        let (f, i) = (sigmoid(linear(&gates.forget, &old, u)), sigmoid(linear(&gates.input, &old, u)));
        let (o, g) = (sigmoid(linear(&gates.output, &old, u)), linear(&gates.cell, &old, u).tanh());
        c[u] = f * c[u] + i * g;
        h[u] = o * c[u].tanh();
    }
    compare("h", last.h.data(), &h, Tolerance::both(1e-14)).unwrap();
    compare("c", last.c.data(), &c, Tolerance::both(1e-14)).unwrap();
}
