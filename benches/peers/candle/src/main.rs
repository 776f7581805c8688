//! candle's recurrent layers on the CPU: the median time of a forward in milliseconds, for each shape T,B,I,H.
//!
//! peer-candle [lstm|gru] SHAPE…

#[path = "../../timing.rs"]
mod timing;

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{GRUConfig, LSTMConfig, RNN, VarBuilder, gru, lstm};

fn main() -> Result<()> {
    let mut cell = "lstm".to_owned();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "lstm" | "gru" => cell = argument,
            shape => println!("{shape} {:.4}", time(&cell, timing::sizes(shape))?),
        }
    }
    Ok(())
}

fn time(cell: &str, [t, b, i, h]: [usize; 4]) -> Result<f64> {
    let device = Device::Cpu;
    let gates = if cell == "gru" { 3 } else { 4 };
    let bound = (h as f32).powf(-0.5);
    // Plain tensors, not variables, which would record every step for a backward pass.
    let mut weights = HashMap::new();
    for (name, width) in [("weight_ih_l0", i), ("weight_hh_l0", h)] {
        weights.insert(name.to_owned(), Tensor::rand(-bound, bound, (gates * h, width), &device)?);
    }
    for name in ["bias_ih_l0", "bias_hh_l0"] {
        weights.insert(name.to_owned(), Tensor::rand(-bound, bound, gates * h, &device)?);
    }
    let weights = VarBuilder::from_tensors(weights, DType::F32, &device);
    // candle expects batch first.
    let x = Tensor::randn(0f32, 1., (b, t, i), &device)?;
    if cell == "gru" {
        forward(&gru(i, h, GRUConfig::default(), weights)?, &x)
    } else {
        forward(&lstm(i, h, LSTMConfig::default(), weights)?, &x)
    }
}

fn forward(layer: &impl RNN, x: &Tensor) -> Result<f64> {
    // One untimed call, so that an error is returned as one.
    layer.states_to_tensor(&layer.seq(x)?)?;
    Ok(timing::median(|| {
        layer.seq(x).and_then(|states| layer.states_to_tensor(&states)).expect("a call that succeeded before");
    }))
}
