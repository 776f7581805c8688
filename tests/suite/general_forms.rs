//! The options of ONNX's operators that PyTorch's layers lack, and the reverse direction alone.

use wgpu_rnn::{
    Activation, Config, Device, Error, GruConfig, Kind, Layer, Lstm, LstmConfig, LstmKind, LstmState, Nonlinearity,
    Precision, Rnn, RnnConfig, Strategy, Tensor,
};

use crate::support::{bits, gpu, message, on_both, state, to_f64, uniform};

const ALL: [Activation; 11] = [
    Activation::Tanh,
    Activation::Sigmoid,
    Activation::Relu,
    Activation::Affine { alpha: 0.5, beta: -0.1 },
    Activation::LeakyRelu { alpha: 0.1 },
    Activation::ThresholdedRelu { alpha: 0.0625 },
    Activation::ScaledTanh { alpha: 0.8, beta: 0.6 },
    Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
    Activation::Elu { alpha: 0.7 },
    Activation::Softsign,
    Activation::Softplus,
];

/// Returns the activations of a direction that begin with number `n` of all.
fn from(n: usize, count: usize) -> Vec<Activation> {
    (0..count).map(|k| ALL[(n + 3 * k) % ALL.len()]).collect()
}

/// Compares a forward with one in f64, on the CPU and, with every strategy that runs it, on the GPU.
fn check<K: Kind>(config: &Config<K>, t: usize, b: usize) {
    let layer = Layer::<K>::random(config.clone(), 5).unwrap();
    let x = uniform(&[t, b, config.input_size()], 6);
    let given = state(config, b, 7);
    let lengths: Vec<usize> = (0..b).map(|b| t.saturating_sub(2 * b).max(1)).collect();
    let reference = layer.cast::<f64>().unwrap().to(&Device::cpu()).unwrap();
    let (in_f64, given_f64) = (x.cast::<f64>().unwrap(), to_f64::<K>(&given));
    let expected = reference.request(&in_f64).state(&given_f64).lengths(&lengths).run().unwrap();
    // Sums of I + H + 2 terms, each step; errors of states carry over.
    let terms = (config.input_size() + config.hidden_size() + 8) * t;
    let tolerance = terms as f64 * f64::from(f32::EPSILON);
    on_both(|device| {
        for strategy in [Strategy::Auto, Strategy::Step, Strategy::Sequence, Strategy::Wavefront] {
            let placed = layer.to(device).unwrap();
            if placed.set_strategy(strategy).is_err() {
                continue;
            }
            let (output, last) = placed.request(&x).state(&given).lengths(&lengths).run().unwrap();
            let arrays = K::arrays(&last).into_iter().zip(K::arrays(&expected.1));
            for (got, expected) in [(&output, &expected.0)].into_iter().chain(arrays) {
                for (at, (&got, &expected)) in got.data().iter().zip(expected.data()).enumerate() {
                    let error = (f64::from(got) - expected).abs();
                    let largest = expected.abs().max(1.0);
                    assert!(error <= tolerance * largest, "{config} on {device}, {strategy:?}, {at}: {got} {expected}");
                }
            }
        }
    });
}

#[test]
fn every_activation_is_that_of_the_reference_everywhere() {
    for n in 0..ALL.len() {
        let lstm = LstmConfig::new(3, 9).with_activations(from(n, 3));
        check(&lstm.clone().with_peepholes(n % 2 == 0).with_input_forget(n % 3 == 0), 6, 3);
        check(&GruConfig::new(3, 9).with_activations(from(n, 2)), 6, 3);
        check(&GruConfig::new(3, 9).with_activations(from(n, 2)).with_reset_after(false), 6, 3);
        check(&RnnConfig::new(3, 9).with_activations(from(n, 1)), 6, 3);
    }
}

/// The formulas of ONNX's specification, in f64.
fn by_formula(activation: Activation, x: f64) -> f64 {
    let f = f64::from;
    match activation {
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        Activation::Affine { alpha, beta } => f(alpha) * x + f(beta),
        Activation::LeakyRelu { alpha } => {
            if x < 0.0 {
                f(alpha) * x
            } else {
                x
            }
        }
        Activation::ThresholdedRelu { alpha } => {
            if x < f(alpha) {
                0.0
            } else {
                x
            }
        }
        Activation::ScaledTanh { alpha, beta } => f(alpha) * (f(beta) * x).tanh(),
        Activation::HardSigmoid { alpha, beta } => (f(alpha) * x + f(beta)).clamp(0.0, 1.0),
        Activation::Elu { alpha } => {
            if x < 0.0 {
                f(alpha) * x.exp_m1()
            } else {
                x
            }
        }
        Activation::Softsign => x / (1.0 + x.abs()),
        Activation::Softplus => {
            if x > 700.0 {
                x
            } else {
                x.exp().ln_1p()
            }
        }
        other => panic!("{other}"),
    }
}

/// An RNN whose pre-activations are its input: one unit, one step, W_ih = 1 and h = 0.
#[test]
fn activations_and_clips_hold_from_nan_to_infinity() {
    let halves = [0.0, 1e-30, 1e-3, 0.0625, 0.1, 0.7, 1.0, 2.4, 2.6, 9.0, 40.0, 105.0, 1e4, 3e38, f32::INFINITY];
    let values: Vec<f32> = halves.iter().flat_map(|&x| [x, -x]).chain([f32::NAN]).collect();
    let x = Tensor::new([1, values.len(), 1], values.as_slice()).unwrap();
    for activation in ALL {
        // How much of the largest term an error may be: what WGSL allows exp and tanh, and no cancellation for the
        // activations that are 0 at 0 without a difference.
        let terms = match activation {
            Activation::Relu | Activation::LeakyRelu { .. } | Activation::Elu { .. } | Activation::Softsign => 0.0,
            _ => 1.0,
        };
        for clip in [f32::INFINITY, 2.5] {
            let config = RnnConfig::new(1, 1).with_bias(false).with_activations([activation]).with_clip(clip);
            let one = |value: f32| Tensor::new([1, 1], [value]).unwrap();
            let rnn = Rnn::new(config, vec![wgpu_rnn::LayerWeights::new(one(1.0), one(0.0))]).unwrap();
            let check = |what: &str, got: &[f64]| {
                for (&x, &got) in values.iter().zip(got) {
                    let clipped = if x.is_nan() { x } else { x.clamp(-clip, clip) };
                    let expected = by_formula(activation, f64::from(clipped));
                    let close = (got - expected).abs() <= 64.0 * f64::from(f32::EPSILON) * (expected.abs() + terms);
                    let same = got == expected || (got.is_nan() && expected.is_nan());
                    assert!(same || close, "{activation}, clip {clip}, {what}: f({x}) is {got} instead of {expected}");
                }
            };
            on_both(|device| {
                let (output, _) = rnn.to(device).unwrap().forward(&x, None).unwrap();
                check(&device.to_string(), output.cast::<f64>().unwrap().data());
            });
            let in_f64 = rnn.cast::<f64>().unwrap().to(&Device::cpu()).unwrap();
            check("f64", in_f64.forward(&x.cast().unwrap(), None).unwrap().0.data());
        }
    }
}

#[test]
fn both_directions_have_their_own() {
    for n in [0, 4, 8] {
        let both = |count| [from(n, count), from(n + 1, count)].concat();
        let lstm = LstmConfig::new(3, 20).with_activations(both(3)).with_bidirectional(true).with_peepholes(true);
        check(&lstm.with_clip(0.5), 5, 5);
        let gru = GruConfig::new(3, 20).with_activations(both(2)).with_bidirectional(true).with_num_layers(2);
        check(&gru.clone().with_clip(0.3), 5, 5);
        check(&gru.with_reset_after(false).with_clip(0.3), 5, 5);
        check(&RnnConfig::new(3, 20).with_activations(both(1)).with_bidirectional(true).with_clip(0.2), 5, 5);
    }
}

#[test]
fn every_size_of_kernel_runs_them() {
    for (hidden, batch) in [(5, 1), (70, 1), (70, 4), (40, 18), (130, 9)] {
        let lstm = LstmConfig::new(4, hidden).with_peepholes(true).with_num_layers(2).with_clip(1.0);
        check(&lstm.clone(), 4, batch);
        check(&lstm.with_proj_size(hidden / 2).with_reverse(true), 4, batch);
        check(&GruConfig::new(4, hidden).with_clip(0.4).with_num_layers(2).with_reverse(true), 4, batch);
        check(&GruConfig::new(4, hidden).with_clip(0.4).with_reset_after(false).with_reverse(true), 4, batch);
        check(&RnnConfig::new(4, hidden).with_clip(0.4).with_num_layers(3), 4, batch);
    }
}

/// A step of one unit, by hand.
#[test]
fn the_output_gate_sees_the_new_cell_state() {
    let one = |values: &[f64]| Tensor::new([values.len(), 1], values).unwrap();
    let weights = wgpu_rnn::LayerWeights::new(one(&[0.1, 0.2, 0.3, 0.4]), one(&[0.5, 0.6, 0.7, 0.8]))
        .with_peephole(Tensor::new([3], [0.9, 1.0, 1.1]).unwrap());
    let config = LstmConfig::new(1, 1).with_bias(false).with_peepholes(true);
    let (x, h, c) = (2.0, 0.3, -0.4);
    let array = |value: f64| Tensor::new([1, 1], [value]).unwrap();
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());

    let run = |config: LstmConfig| {
        let lstm = Layer::<LstmKind, f64>::new(config, vec![weights.clone()]).unwrap().to(&Device::cpu()).unwrap();
        let (_, state) = lstm.forward(&array(x), &LstmState { h: array(h), c: array(c) }).unwrap();
        (state.h.data()[0], state.c.data()[0])
    };
    let i = sigmoid(0.1 * x + 0.5 * h + 0.9 * c);
    for (input_forget, f) in [(false, sigmoid(0.2 * x + 0.6 * h + 1.0 * c)), (true, 1.0 - i)] {
        let new_c = f * c + i * (0.3 * x + 0.7 * h).tanh();
        let new_h = sigmoid(0.4 * x + 0.8 * h + 1.1 * new_c) * new_c.tanh();
        let got = run(config.clone().with_input_forget(input_forget));
        assert!((got.0 - new_h).abs() < 1e-15 && (got.1 - new_c).abs() < 1e-15, "{got:?} {new_h} {new_c}");
    }
    // All pre-activations of gates are beyond ±0.1 here, except that of i, which is 0.2 + 0.15 - 0.36.
    let bounded = |x: f64| x.clamp(-0.1, 0.1);
    let new_c = sigmoid(bounded(0.18)) * c + sigmoid(-0.01) * 0.1_f64.tanh();
    let new_h = sigmoid(bounded(0.4 * x + 0.8 * h + 1.1 * new_c)) * new_c.tanh();
    let got = run(config.with_clip(0.1));
    // The bound is an f32.
    assert!((got.0 - new_h).abs() < 1e-8 && (got.1 - new_c).abs() < 1e-8, "{got:?} {new_h} {new_c}");
}

#[test]
fn options_that_select_pytorchs_form_run_pytorchs_kernels() {
    let x = uniform(&[5, 2, 3], 1);
    let lstm = LstmConfig::new(3, 4);
    let said = lstm.clone().with_activations([Activation::Sigmoid, Activation::Tanh, Activation::Tanh]);
    let said = Lstm::random(said.with_clip(f32::INFINITY), 2).unwrap();
    assert_eq!(said, Lstm::random(lstm, 2).unwrap());
    let relu = Rnn::random(RnnConfig::new(3, 4).with_activations([Activation::Relu]), 2).unwrap();
    assert_eq!(relu.config().nonlinearity(), Nonlinearity::Relu);
    on_both(|device| {
        assert!(said.to(device).unwrap().forward_train(&x, None).is_ok());
        assert!(relu.to(device).unwrap().forward_train(&x, None).is_ok());
    });
}

#[test]
fn a_reverse_layer_is_a_forward_one_on_reversed_rows() {
    let (t, b) = (6, 3);
    let lengths = [6, 4, 1];
    let x = uniform(&[t, b, 3], 1);
    let flipped = |array: &Tensor| {
        let width = array.shape()[2];
        let mut flipped = array.clone();
        for (row, &length) in lengths.iter().enumerate() {
            for step in 0..length {
                let (to, from) = (((length - 1 - step) * b + row) * width, (step * b + row) * width);
                flipped.data_mut()[to..to + width].copy_from_slice(&array.data()[from..from + width]);
            }
        }
        flipped
    };
    let config = GruConfig::new(3, 7).with_num_layers(2);
    let forward = Layer::random(config.clone(), 4).unwrap();
    let reverse = Layer::new(config.with_reverse(true), forward.layers().to_vec()).unwrap();
    on_both(|device| {
        let (forward, reverse) = (forward.to(device).unwrap(), reverse.to(device).unwrap());
        let expected = forward.request(&flipped(&x)).lengths(&lengths).run().unwrap();
        let got = reverse.request(&x).lengths(&lengths).run().unwrap();
        assert_eq!(bits(&got.0), bits(&flipped(&expected.0)));
        assert_eq!(bits(&got.1), bits(&expected.1));
        // Its gradients, too.
        let dy = uniform(&[t, b, 7], 9);
        let of = |layer: &wgpu_rnn::PlacedGru, x: &Tensor, dy: &Tensor| {
            layer.request(x).lengths(&lengths).train().run().unwrap().backward(dy, None).unwrap()
        };
        let (expected, got) = (of(&forward, &flipped(&x), &flipped(&dy)), of(&reverse, &x, &dy));
        assert_eq!(bits(got.input()), bits(&flipped(expected.input())));
        assert_eq!(bits(got.initial_state()), bits(expected.initial_state()));
        for ((_, got), (name, expected)) in got.weights().named().unwrap().zip(expected.weights().named().unwrap()) {
            let largest = expected.data().iter().fold(0.0_f32, |largest, v| largest.max(v.abs()));
            for (got, expected) in got.data().iter().zip(expected.data()) {
                assert!((got - expected).abs() <= 32.0 * f32::EPSILON * largest, "{name}: {got} {expected}");
            }
        }
    });
}

#[test]
fn files_keep_every_option() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let activations =
        [Activation::HardSigmoid { alpha: 0.2, beta: 0.5 }, Activation::Softsign, Activation::Elu { alpha: 1.5 }];
    let config = LstmConfig::new(3, 4).with_activations(activations).with_clip(2.5).with_input_forget(true);
    let lstm = Lstm::random(config.with_peepholes(true).with_reverse(true), 1).unwrap();
    assert_eq!(
        lstm.to_string(),
        "LSTM(3, 4, reverse=true, activations=[HardSigmoid(0.2, 0.5), Softsign, Elu(1.5)], clip=2.5, \
         input_forget=true, peepholes=true)"
    );
    lstm.save_safetensors(&path, "a.").unwrap();
    assert_eq!(Lstm::from_safetensors(&path, "a.").unwrap(), lstm);
    assert_eq!(Lstm::from_safetensors_with(lstm.config().clone(), &path, "a.").unwrap(), lstm);
    let other = message(Lstm::from_safetensors_with(lstm.config().clone().with_clip(3.0), &path, "a."));
    assert!(other.contains("clip: expected 3, got 2.5"), "{other}");
}

#[test]
fn what_a_form_cannot_do_is_an_error_that_names_it() {
    let lstm = Lstm::random(LstmConfig::new(3, 4).with_peepholes(true), 1).unwrap();
    let x = uniform(&[5, 2, 3], 1);
    on_both(|device| {
        let placed = lstm.to(device).unwrap();
        let expected = "training LSTM(3, 4, peepholes=true) is not supported: the backward is that of PyTorch's forms";
        assert_eq!(message(placed.forward_train(&x, None)), expected);
        let reverse = Lstm::random(LstmConfig::new(3, 4).with_reverse(true), 1).unwrap().to(device).unwrap();
        assert!(message(reverse.streams(1).run()).contains("a reverse layer over streams"));
    });
    if let Some(device) = gpu() {
        assert!(matches!(lstm.to(&device).unwrap().plan_training(5, 2), Err(Error::Unsupported { .. })));
        // f16 is for weights, whatever the form.
        let half = lstm.place(&device).precision(Precision::F16).run().unwrap();
        let expected = lstm.place(&Device::cpu()).precision(Precision::F16).run().unwrap().forward(&x, None).unwrap();
        let got = half.forward(&x, None).unwrap();
        let error = |(a, b): (&f32, &f32)| (a - b).abs();
        assert!(got.0.data().iter().zip(expected.0.data()).map(error).all(|error| error < 1e-5));
    }
    assert!(message(lstm.to_concat_gates()).contains("peepholes=true"));
    let rejected = |config: LstmConfig| message(Lstm::random(config, 1));
    let config = LstmConfig::new(3, 4);
    assert_eq!(
        rejected(config.clone().with_activations([Activation::Tanh])),
        "activations: expected f, g and h for each direction, or once for all, got 1 of them"
    );
    assert_eq!(rejected(config.clone().with_clip(0.0)), "clip: expected a number above 0, got 0");
    assert!(
        rejected(config.clone().with_reverse(true).with_bidirectional(true)).starts_with("reverse: expected false")
    );
    let nan = Activation::Elu { alpha: f32::NAN };
    assert!(rejected(config.with_activations([nan; 3])).contains("expected finite alpha and beta, got Elu(NaN)"));
    let missing = Layer::<LstmKind>::new(LstmConfig::new(3, 4).with_peepholes(true), plain());
    assert_eq!(message(missing), "tensor peephole_l0 is missing: the model has peepholes=true");
}

fn plain() -> Vec<wgpu_rnn::LayerWeights> {
    Lstm::random(LstmConfig::new(3, 4), 1).unwrap().layers().to_vec()
}
