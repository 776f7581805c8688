//! The gradients are those of torch.autograd: fixtures/gradients.py made them.

use std::path::PathBuf;

use wgpu_rnn::{AnyLayer, Device, Kind, Layer, Mode, Nonlinearity, Real, Tensor, TensorFile};

use crate::compare::{Tolerance, compare};
use crate::support::{every_gradient, gpu, reduction_length};

/// The seed of the masks in fixtures/gradients.py.
const SEED: u64 = 7;

fn fixtures() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gradients");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Runs every fixture and compares each gradient with a tolerance relative to its tensor's largest value; `tolerance`
/// gets the number of terms of the longest sum.
fn check<F: Real>(device: &Device, tolerance: fn(f64) -> f64) {
    let files = fixtures();
    assert!(files.len() >= 56, "only {} fixtures", files.len());
    for path in files {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let file = TensorFile::open(&path).unwrap();
        let flag = |key: &str| file.tensor::<f32>(key).unwrap().unwrap().data()[0] == 1.0;
        let p = file.tensor::<f64>("dropout").unwrap().unwrap().data()[0];
        let layer: AnyLayer<F> = AnyLayer::from_tensor_file_as(&file, "layer.").unwrap();
        match layer.with_batch_first(flag("batch_first")) {
            AnyLayer::Lstm(layer) => check_layer(&name, &file, layer.with_dropout(p).unwrap(), device, tolerance),
            AnyLayer::Gru(layer) => {
                let layer = layer.with_reset_after(!flag("reset_before"));
                check_layer(&name, &file, layer.with_dropout(p).unwrap(), device, tolerance);
            }
            AnyLayer::Rnn(layer) => {
                let nonlinearity = if flag("relu") { Nonlinearity::Relu } else { Nonlinearity::Tanh };
                let layer = layer.with_nonlinearity(nonlinearity);
                check_layer(&name, &file, layer.with_dropout(p).unwrap(), device, tolerance);
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

fn check_layer<K: Kind, F: Real>(
    name: &str,
    file: &TensorFile,
    layer: Layer<K, F>,
    device: &Device,
    tolerance: fn(f64) -> f64,
) {
    let tensor = |key: &str| -> Option<Tensor<F>> { file.tensor(key).unwrap() };
    let placed = layer.to(device).unwrap();
    placed.set_mode(Mode::Training { seed: SEED });
    let input = tensor("input").unwrap();
    let arrays = |keys: [&str; 2]| -> Vec<_> { keys.into_iter().filter_map(tensor).collect() };
    let initial = arrays(["h_0", "c_0"]);
    let initial = (!initial.is_empty()).then(|| K::state(initial).unwrap());
    let lengths = file.integers("lengths").unwrap();
    let lengths: Option<Vec<usize>> = lengths.map(|all| all.into_iter().map(|length| length as usize).collect());
    let mut request = placed.request(&input).state(initial.as_ref());
    if let Some(lengths) = &lengths {
        request = request.lengths(lengths);
    }
    let pass = request.train().run().unwrap();
    // The case may give the gradient of only some of the results.
    let of_state = |key: &str, state: &Tensor<F>| tensor(key).unwrap_or_else(|| Tensor::zeros(state.shape()).unwrap());
    let last = ["grad_h_n", "grad_c_n"].into_iter().zip(K::arrays(pass.state()));
    let of_last = K::state(last.map(|(key, state)| of_state(key, state)).collect()).unwrap();
    let is_given = ["grad_h_n", "grad_c_n"].iter().any(|key| file.shape(key).is_some());
    let of_output = tensor("grad_output");
    let gradients = pass.backward(of_output.as_ref(), is_given.then_some(&of_last)).unwrap();

    let config = placed.config();
    let rows: usize = input.shape().iter().product::<usize>() / config.input_size();
    // Rounding a pre-activation moves it by an error that grows with the weights; a sigmoid passes on at most a
    // quarter.
    let scale = (file.tensor::<f64>("scale").unwrap().unwrap().data()[0] / 4.0).max(1.0);
    let terms = scale * (rows + 2 * reduction_length(config)) as f64;
    let mut compared = 0;
    for (key, got) in every_gradient(&gradients) {
        let Some(expected) = file.tensor::<f64>(&format!("grad_{key}")).unwrap() else {
            panic!("{name}: no grad_{key}");
        };
        assert_eq!(got.shape(), expected.shape(), "{name} {key}");
        let largest = expected.data().iter().fold(0.0_f64, |largest, v| largest.max(v.abs()));
        let bound = Tolerance { absolute: tolerance(terms) * largest, relative: 0.0 };
        compare(&format!("{name} {key}"), got.data(), expected.data(), bound).unwrap();
        compared += 1;
    }
    assert_eq!(compared, file.names().filter(|key| key.starts_with("grad_")).count() - given(file), "{name}");
}

/// Returns the number of gradients that a case gives.
fn given(file: &TensorFile) -> usize {
    ["grad_output", "grad_h_n", "grad_c_n"].iter().filter(|key| file.shape(key).is_some()).count()
}

#[test]
fn cpu_f64_is_torch_autograd() {
    check::<f64>(&Device::cpu(), |_| 1e-12);
}

#[test]
fn cpu_f32_is_torch_autograd() {
    check::<f32>(&Device::cpu(), |terms| terms * f64::from(f32::EPSILON));
}

#[test]
fn gpu_is_torch_autograd() {
    let Some(device) = gpu() else { return };
    check::<f32>(&device, |terms| terms * f64::from(f32::EPSILON));
}

/// Threads share the outputs of every sum and never a sum, in layers large enough for them to share: few rows by units,
/// many by rows. An earlier pass leaves its arrays to the next, and of its NaNs nothing is seen.
#[test]
fn gradients_have_the_same_bits_on_any_number_of_threads() {
    fn bits<K: Kind>(layer: &Layer<K>, threads: usize, batch: usize) -> Vec<Vec<u32>> {
        let placed = layer.to(&Device::cpu_with(threads).unwrap()).unwrap();
        let steps = 200 / batch;
        let count = steps * batch * 33;
        if threads > 1 {
            let nan = Tensor::new([steps, batch, 33], vec![f32::NAN; count]).unwrap();
            let pass = placed.forward_train(&nan, None).unwrap();
            let dy = pass.output().clone();
            pass.backward(&dy, None).unwrap();
        }
        let x = (0..count).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<_>>();
        let x = Tensor::new([steps, batch, 33], x).unwrap();
        let lengths: Vec<usize> = [steps, 7, 0, steps - 1, 1].into_iter().cycle().take(batch).collect();
        let pass = placed.request(&x).lengths(&lengths).train().run().unwrap();
        let dy = pass.output().clone();
        let gradients = pass.backward(&dy, None).unwrap();
        every_gradient(&gradients).iter().map(|(_, g)| g.data().iter().map(|v| v.to_bits()).collect()).collect()
    }
    fn check<K: Kind>(layer: &Layer<K>) {
        for batch in [5, 19] {
            let expected = bits(layer, 1, batch);
            for threads in [2, 5] {
                assert!(bits(layer, threads, batch) == expected, "{threads} threads, {batch} rows");
            }
        }
    }
    check(&Layer::random(wgpu_rnn::LstmConfig::new(33, 131).with_bidirectional(true), 1).unwrap());
    check(&Layer::random(wgpu_rnn::LstmConfig::new(33, 131), 1).unwrap());
    check(&Layer::random(wgpu_rnn::LstmConfig::new(33, 131).with_proj_size(50), 1).unwrap());
    check(&Layer::random(wgpu_rnn::GruConfig::new(33, 131), 2).unwrap());
    check(&Layer::random(wgpu_rnn::GruConfig::new(33, 131).with_reset_after(false), 2).unwrap());
    check(&Layer::random(wgpu_rnn::RnnConfig::new(33, 231), 3).unwrap());
}
