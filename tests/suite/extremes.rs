//! Large pre-activations saturate: finite and right, where some drivers' tanh gives NaN from 89 on.

use wgpu_rnn::{Device, LayerWeights, Lstm, LstmConfig, LstmState, Tensor};

use crate::compare::{Tolerance, compare};
use crate::support::{gpu, oracle, uniform};

#[test]
fn pre_activations_of_any_size_saturate() {
    let devices = [Some(Device::cpu()), gpu()];
    for device in devices.iter().flatten() {
        for size in [1.0, 15.0, 16.0, 87.0, 89.0, 1e3, 1e4, 1e20, 3e38_f32] {
            // One input of ±1 or 0 times a weight of `size`; nothing is summed, so nothing but the activations rounds.
            let weight_ih = Tensor::new([4, 1], [size, -size, size, size]).unwrap();
            let lstm = Lstm::new(
                LstmConfig::new(1, 1).with_bias(false),
                vec![LayerWeights::new(weight_ih, Tensor::zeros([4, 1]).unwrap())],
            )
            .unwrap();
            let x = Tensor::new([6, 1, 1], [1.0_f32, -1.0, 0.0, 1.0, 1.0, -1.0]).unwrap();
            let (output, state) = lstm.to(device).unwrap().forward(&x, None).unwrap();
            let (expected, expected_state) = oracle(&lstm, &x, None);
            assert!(output.data().iter().all(|v| v.is_finite()), "{size} on {device}: {:?}", output.data());
            // A few roundings of values up to 1 in each of six steps.
            let tolerance = Tolerance { absolute: 1e-6, relative: 0.0 };
            compare(&format!("{size} on {device}"), output.data(), expected.data(), tolerance).unwrap();
            compare(&format!("c, {size} on {device}"), state.c.data(), expected_state.c.data(), tolerance).unwrap();
        }
    }
}

/// Random models whose weights are scaled until every gate saturates.
#[test]
fn saturated_random_models_stay_right() {
    let Some(gpu) = gpu() else { return };
    for scale in [30.0_f32, 100.0, 1e3] {
        let config = LstmConfig::new(6, 10).with_num_layers(2).with_bidirectional(true);
        let scaled = |tensor: &Tensor| {
            let data: Vec<f32> = tensor.data().iter().map(|w| w * scale).collect();
            Tensor::new(tensor.shape(), data).unwrap()
        };
        let layers = Lstm::random(config.clone(), 21).unwrap();
        let layers = layers.layers().iter().map(|w| LayerWeights::new(scaled(w.weight_ih()), scaled(w.weight_hh())));
        let lstm = Lstm::new(config.with_bias(false), layers.collect()).unwrap();
        let x = uniform(&[1, 5, 6], 22);
        let (output, _) = lstm.to(&gpu).unwrap().forward(&x, None).unwrap();
        let (expected, _) = oracle(&lstm, &x, None);
        // A sum of 28 terms (two layers' inputs and hidden units) that add up to about `scale` rounds by 28·ε·scale, of which a
        // sigmoid passes on a quarter; where that would be all of its range, it says nothing, so scales stay below.
        let tolerance = Tolerance::both(28.0 * f64::from(f32::EPSILON) * f64::from(scale) / 4.0);
        compare(&format!("scale {scale}"), output.data(), expected.data(), tolerance).unwrap();
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
