//! Large pre-activations saturate: finite and right, where some drivers' tanh gives NaN from 89 on.

use wgpu_rnn::{Config, Device, GruConfig, Kind, Layer, LayerWeights, Lstm, LstmConfig, LstmState, RnnConfig, Tensor};

use crate::compare::{Tolerance, compare};
use crate::support::{gpu, oracle, uniform};

/// Weights of one unit and one feature: W_ih with the signs of `signs` and the size `size`, and W_hh of zeros.
fn one_unit<K: Kind>(config: Config<K>, signs: &[f32], size: f32) -> Layer<K> {
    let rows = signs.len();
    let weight_ih = Tensor::new([rows, 1], signs.iter().map(|sign| sign * size).collect::<Vec<_>>()).unwrap();
    let weights = LayerWeights::new(weight_ih, Tensor::zeros([rows, 1]).unwrap());
    Layer::new(config.with_bias(false), vec![weights]).unwrap()
}

fn check_saturation<K: Kind>(device: &Device, layer: &Layer<K>, size: f32) {
    let x = Tensor::new([6, 1, 1], [1.0_f32, -1.0, 0.0, 1.0, 1.0, -1.0]).unwrap();
    let (output, state) = layer.to(device).unwrap().forward(&x, None).unwrap();
    let (expected, expected_state) = oracle(layer, &x, None);
    let name = format!("{layer} of {size} on {device}");
    assert!(output.data().iter().all(|v| v.is_finite()), "{name}: {:?}", output.data());
    // A few roundings of values up to 1 in each of six steps.
    let tolerance = Tolerance { absolute: 1e-6, relative: 0.0 };
    compare(&name, output.data(), expected.data(), tolerance).unwrap();
    for (got, expected) in K::arrays(&state).into_iter().zip(K::arrays(&expected_state)) {
        compare(&name, got.data(), expected.data(), tolerance).unwrap();
    }
}

#[test]
fn pre_activations_of_any_size_saturate() {
    let devices = [Some(Device::cpu()), gpu()];
    for device in devices.iter().flatten() {
        for size in [1.0, 15.0, 16.0, 87.0, 89.0, 1e3, 1e4, 1e20, 3e38_f32] {
            // One input of ±1 or 0 times a weight of `size`; nothing is summed, so nothing but the activations rounds.
            check_saturation(device, &one_unit(LstmConfig::new(1, 1), &[1.0, -1.0, 1.0, 1.0], size), size);
            let gru = GruConfig::new(1, 1);
            check_saturation(device, &one_unit(gru.clone(), &[-1.0, 1.0, 1.0], size), size);
            check_saturation(device, &one_unit(gru.with_reset_after(false), &[-1.0, 1.0, 1.0], size), size);
            check_saturation(device, &one_unit(RnnConfig::new(1, 1), &[1.0], size), size);
        }
    }
}

/// Random models whose weights are scaled until every gate saturates.
#[test]
fn saturated_random_models_stay_right() {
    fn check<K: Kind>(gpu: &Device, config: Config<K>, scale: f32) {
        let scaled = |tensor: &Tensor| {
            let data: Vec<f32> = tensor.data().iter().map(|w| w * scale).collect();
            Tensor::new(tensor.shape(), data).unwrap()
        };
        let layers = Layer::random(config.clone(), 21).unwrap();
        let layers = layers.layers().iter().map(|w| LayerWeights::new(scaled(w.weight_ih()), scaled(w.weight_hh())));
        let layer = Layer::new(config.with_bias(false), layers.collect()).unwrap();
        let x = uniform(&[1, 5, 6], 22);
        let (output, _) = layer.to(gpu).unwrap().forward(&x, None).unwrap();
        let (expected, _) = oracle(&layer, &x, None);
        // A sum of 28 terms (two layers' inputs and hidden units) that add up to about `scale` rounds by 28·ε·scale, of which a
        // sigmoid passes on a quarter; where that would be all of its range, it says nothing, so scales stay below.
        let tolerance = Tolerance::both(28.0 * f64::from(f32::EPSILON) * f64::from(scale) / 4.0);
        compare(&format!("{layer}, scale {scale}"), output.data(), expected.data(), tolerance).unwrap();
    }
    let Some(gpu) = gpu() else { return };
    for scale in [30.0_f32, 100.0, 1e3] {
        check(&gpu, LstmConfig::new(6, 10).with_num_layers(2).with_bidirectional(true), scale);
        let gru = GruConfig::new(6, 10).with_num_layers(2).with_bidirectional(true);
        check(&gpu, gru.with_reset_after(false), scale);
    }
}

/// A gate that is all but shut holds back even the largest cell state.
#[test]
fn a_shut_gate_is_shut() {
    for device in [Some(Device::cpu()), gpu()].iter().flatten() {
        for (forget, c_0) in [(-100.0_f32, 1e38_f32), (-200.0, f32::MAX), (-95.0, 1e35)] {
            let zeros = |shape: &[usize]| Tensor::zeros(shape).unwrap();
            let bias = Tensor::new([4], [0.0, forget, 0.0, 0.0]).unwrap();
            let layer = LayerWeights::new(zeros(&[4, 1]), zeros(&[4, 1])).with_bias(bias, zeros(&[4]));
            let lstm = Lstm::new(LstmConfig::new(1, 1), vec![layer]).unwrap();
            let state = LstmState { h: zeros(&[1, 1]), c: Tensor::new([1, 1], [c_0]).unwrap() };
            let (_, last) = lstm.to(device).unwrap().forward(&zeros(&[1, 1]), Some(&state)).unwrap();
            let (_, expected) = oracle(&lstm, &zeros(&[1, 1]), Some(&state));
            // Below the least normal f32, 1.2e-38, a device may round to 0.
            let tolerance = Tolerance { absolute: 1.2e-38 * f64::from(c_0), relative: 1e-5 };
            compare(&format!("{forget} {c_0} on {device}"), last.c.data(), expected.c.data(), tolerance).unwrap();
        }
    }
}
