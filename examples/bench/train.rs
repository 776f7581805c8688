//! Timing of training passes and steps, whose gradients are checked first.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use wgpu_rnn::{AdamW, Device, Kind, Layer, Optimizer, Placed, Real, Tensor};

use crate::measure::{Times, repeat};

/// Times a forward and its backward, from the gradient of the output, until the gradients of everything are on the
/// host.
pub fn whole_pass<K: Kind>(layer: &Layer<K>, model: &Placed<K>, x: &Tensor, times: usize) -> Result<Times> {
    let of_output = gradient_of_output(layer, model, x)?;
    repeat(times, || {
        let start = Instant::now();
        model.forward_train(x, None)?.backward(&of_output, None)?.weights().layers()?;
        Ok(start.elapsed())
    })
}

/// Times a forward, its backward, and a step of AdamW where the weights are. A GPU may still be at the step's work when
/// the next pass begins, which waits for it.
pub fn whole_step<K: Kind>(layer: &Layer<K>, model: &mut Placed<K>, x: &Tensor, times: usize) -> Result<Times> {
    let of_output = gradient_of_output(layer, model, x)?;
    let mut optimizer = Optimizer::new(AdamW::new())?;
    repeat(times, || {
        let start = Instant::now();
        let gradients = model.forward_train(x, None)?.backward(&of_output, None)?;
        let mut step = optimizer.step(1e-3);
        step.layer("", model, gradients.weights());
        step.run()?;
        Ok(start.elapsed())
    })
}

/// Returns the gradient of the output that passes start from, once theirs are known to be right.
fn gradient_of_output<K: Kind>(layer: &Layer<K>, model: &Placed<K>, x: &Tensor) -> Result<Tensor> {
    let (output, _) = model.forward(x, None)?;
    let wave = (0..output.data().len()).map(|n| (n as f32 * 0.73).cos()).collect::<Vec<_>>();
    let of_output = Tensor::new(output.shape(), wave)?;
    check(layer, model, x, &of_output).context("the gradients are wrong, so their time means nothing")?;
    Ok(of_output)
}

/// Compares the gradients with those of the reference in f64.
fn check<K: Kind>(layer: &Layer<K>, model: &Placed<K>, x: &Tensor, of_output: &Tensor) -> Result<()> {
    let got = model.forward_train(x, None)?.backward(of_output, None)?;
    let reference = layer.cast::<f64>()?.to(&Device::cpu())?;
    let expected = reference.forward_train(&x.cast()?, None)?.backward(&of_output.cast()?, None)?;
    // The terms of the longest sums: those of weights go over all rows.
    let config = layer.config();
    let terms = x.data().len() / config.input_size() + config.input_size() + config.hidden_size() + 2;
    let tolerance = terms as f64 * f64::from(f32::EPSILON);
    compare("the input", got.input(), expected.input(), tolerance)?;
    for ((name, got), (_, expected)) in got.weights().named()?.zip(expected.weights().named()?) {
        compare(&name, got, expected, tolerance)?;
    }
    Ok(())
}

/// Compares a gradient with a tolerance relative to its largest value.
fn compare(name: &str, got: &Tensor, expected: &Tensor<f64>, tolerance: f64) -> Result<()> {
    let largest = expected.data().iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    for (at, (&got, &expected)) in got.data().iter().zip(expected.data()).enumerate() {
        let fits = (got.to_f64() - expected).abs() <= tolerance * largest;
        ensure!(fits, "element {at} of the gradient of {name} is {got}, expected {expected}");
    }
    Ok(())
}
