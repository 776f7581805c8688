//! Weights as f16: the layer of the rounded weights, no more and no less.

use wgpu_rnn::{
    Config, Device, Error, GruConfig, Kind, Layer, LayerWeights, LstmCell, LstmCellConfig, LstmConfig, Precision,
    RnnConfig, Tensor,
};

use crate::compare::{Tolerance, compare};
use crate::support::{bits, on_both, oracle, reduction_length, uniform};

/// Eleven significant bits, by arithmetic of f64 that knows nothing of formats.
fn rounded(tensor: &Tensor) -> Tensor {
    let mut rounded = tensor.clone();
    for v in rounded.data_mut() {
        let exact = f64::from(*v);
        let step = if exact.abs() < 2.0_f64.powi(-14) {
            2.0_f64.powi(-24)
        } else {
            2.0_f64.powi(exact.abs().log2().floor() as i32 - 10)
        };
        *v = ((exact / step).round_ties_even() * step) as f32;
    }
    rounded
}

fn check<K: Kind>(device: &Device, config: Config<K>, batch: usize) {
    let layer = Layer::random(config.clone(), 1).unwrap();
    let of_layer = |weights: &LayerWeights| {
        let mut other = LayerWeights::new(rounded(weights.weight_ih()), rounded(weights.weight_hh()));
        if let (Some(ih), Some(hh)) = (weights.bias_ih(), weights.bias_hh()) {
            other = other.with_bias(ih.clone(), hh.clone());
        }
        match weights.weight_hr() {
            Some(hr) => other.with_projection(hr.clone()),
            None => other,
        }
    };
    let by_hand = Layer::new(config.clone(), layer.layers().iter().map(of_layer).collect()).unwrap();
    let x = uniform(&[6, batch, config.input_size()], 2);
    let name = format!("{config} of f16, B = {batch}, on {device}");
    let output = layer.place(device).precision(Precision::F16).run().unwrap().forward(&x, None).unwrap().0;
    let tolerance = Tolerance::of_f32_sum(reduction_length(&config));
    compare(&name, output.data(), oracle(&by_hand, &x, None).0.data(), tolerance).unwrap();
    // The rounding is there, and F32 is what `to` does.
    let plain = layer.to(device).unwrap().forward(&x, None).unwrap().0;
    assert_ne!(bits(&output), bits(&plain), "{name}");
    let explicit = layer.place(device).precision(Precision::F32).run().unwrap().forward(&x, None).unwrap().0;
    assert_eq!(bits(&explicit), bits(&plain), "{name}");
    // |w·x| is below 1/sqrt(H) a term, and six steps of a stable recurrence add little: far from 0, and far below a mistake.
    let off = output.data().iter().zip(plain.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < 0.01, "{name}: {off}");
}

#[test]
fn f16_is_the_layer_of_the_rounded_weights() {
    on_both(|device| {
        for batch in [1, 3, 20] {
            check(device, LstmConfig::new(7, 33).with_num_layers(2).with_bidirectional(true), batch);
            check(device, LstmConfig::new(7, 33).with_proj_size(10).with_bias(false), batch);
            check(device, GruConfig::new(7, 33).with_num_layers(2), batch);
            check(device, GruConfig::new(7, 33).with_num_layers(2).with_reset_after(false), batch);
            check(device, RnnConfig::new(7, 33), batch);
        }
    });
}

/// A cell is a layer of one step.
#[test]
fn a_cell_of_f16_is_the_layer_of_f16() {
    on_both(|device| {
        let cell = LstmCell::random(LstmCellConfig::new(7, 33), 1).unwrap();
        let layer = Layer::new(LstmConfig::new(7, 33), vec![cell.weights().clone()]).unwrap();
        let x = uniform(&[3, 7], 2);
        let state = cell.place(device).precision(Precision::F16).run().unwrap().forward(&x, None).unwrap();
        let sequence = Tensor::new([1, 3, 7], x.data()).unwrap();
        let output = layer.place(device).precision(Precision::F16).run().unwrap().forward(&sequence, None).unwrap().0;
        assert_eq!(bits(&state.h), bits(&output));
        let plain = cell.to(device).unwrap().forward(&x, None).unwrap();
        assert_ne!(bits(&state.h), bits(&plain.h));
    });
}

#[test]
fn a_weight_beyond_f16_is_named() {
    on_both(|device| {
        let mut weight_hh = Tensor::<f32>::zeros([4, 1]).unwrap();
        weight_hh.data_mut()[2] = 65_520.0;
        let weights = LayerWeights::new(Tensor::zeros([4, 3]).unwrap(), weight_hh);
        let cell = LstmCell::new(LstmCellConfig::new(3, 1).with_bias(false), weights.clone()).unwrap();
        let error = cell.place(device).precision(Precision::F16).run().unwrap_err();
        assert_eq!(error.to_string(), "tensor weight_hh: expected finite values, got inf at [2, 0]");
        let lstm = Layer::new(LstmConfig::new(3, 1).with_bias(false), vec![weights]).unwrap();
        lstm.to(device).unwrap();
        let error = lstm.place(device).precision(Precision::F16).run().unwrap_err();
        assert!(matches!(error, Error::NonFinite { .. }));
        assert_eq!(error.to_string(), "tensor weight_hh_l0: expected finite values, got inf at [2, 0]");
    });
}
