//! candle's recurrent layers on the CPU: the median time of a forward in milliseconds, for each shape T,B,I,H. With
//! "train", of a forward and its backward, with the gradients of the input and of every weight and bias.
//!
//! peer-candle [train] [lstm|gru] SHAPE…

#[path = "../../timing.rs"]
mod timing;

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{GRUConfig, LSTMConfig, RNN, VarBuilder, gru, lstm};

fn main() -> Result<()> {
    let (mut cell, mut train) = ("lstm".to_owned(), false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "train" => train = true,
            "lstm" | "gru" => cell = argument,
            shape => println!("{shape} {:.4}", time(&cell, train, timing::sizes(shape))?),
        }
    }
    Ok(())
}

fn time(cell: &str, train: bool, [t, b, i, h]: [usize; 4]) -> Result<f64> {
    let device = Device::Cpu;
    let gates = if cell == "gru" { 3 } else { 4 };
    let bound = (h as f32).powf(-0.5);
    // Variables record every step for a backward pass, which plain tensors do not.
    let leaf = |tensor: Tensor| -> Result<Tensor> {
        if train { Ok(Var::from_tensor(&tensor)?.as_tensor().clone()) } else { Ok(tensor) }
    };
    let mut weights = HashMap::new();
    for (name, width) in [("weight_ih_l0", i), ("weight_hh_l0", h)] {
        weights.insert(name.to_owned(), leaf(Tensor::rand(-bound, bound, (gates * h, width), &device)?)?);
    }
    for name in ["bias_ih_l0", "bias_hh_l0"] {
        weights.insert(name.to_owned(), leaf(Tensor::rand(-bound, bound, gates * h, &device)?)?);
    }
    // candle expects batch first.
    let x = leaf(Tensor::randn(0f32, 1., (b, t, i), &device)?)?;
    let leaves = if train { weights.values().chain([&x]).cloned().collect() } else { Vec::new() };
    let weights = VarBuilder::from_tensors(weights, DType::F32, &device);
    if cell == "gru" {
        calls(&gru(i, h, GRUConfig::default(), weights)?, &x, &leaves)
    } else {
        calls(&lstm(i, h, LSTMConfig::default(), weights)?, &x, &leaves)
    }
}

/// Times forwards, or whole passes with the gradients of all leaves where there are some.
fn calls(layer: &impl RNN, x: &Tensor, leaves: &[Tensor]) -> Result<f64> {
    let forward = || -> Result<Tensor> { layer.states_to_tensor(&layer.seq(x)?) };
    // One untimed call, so that an error is returned as one.
    let given = forward()?.randn_like(0., 1.)?.detach();
    if leaves.is_empty() {
        return Ok(timing::median(|| drop(forward().expect("a call that succeeded before"))));
    }
    let pass = || -> Result<()> {
        let gradients = (forward()? * &given)?.sum_all()?.backward()?;
        assert!(leaves.iter().all(|leaf| gradients.get(leaf).is_some()), "the gradients of all leaves");
        Ok(())
    };
    pass()?;
    Ok(timing::median(|| pass().expect("a call that succeeded before")))
}
