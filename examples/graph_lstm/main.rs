//! A graph-convolutional LSTM over a road graph. The example's own kernels work on the input and on the cell state
//! between the steps of the crate's LSTM cell, all in one submission. The result is compared with NumPy's.
//!
//! cargo run --release --example graph_lstm [-- --device auto|gpu|cpu --adapter NAME]

mod gpu;
mod host;
mod model;
#[path = "../common/place.rs"]
mod place;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use wgpu_rnn::{Tensor, TensorFile};

use crate::model::GraphLstm;
use crate::place::Place;

/// The speed of traffic that jams slow down, in km/h: `FREE_FLOW_KM_H` of reference.py.
const FREE_FLOW: f64 = 100.0;

/// Predicts the congestion of a synthetic road network with the TGC-LSTM of Cui et al. (2019), and compares with NumPy.
///
/// Exit status: 0 if float32 arithmetic explains every difference, 1 if not.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    place: Place,
}

/// The results of a run.
struct Run {
    /// h after every step, `[T, B, D]`.
    h: Vec<f32>,
    /// The last c, `[B, D]`.
    c: Vec<f32>,
    how: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = arguments.place.open()?;
    println!("device    {device}: {}", device.reason());
    let file = TensorFile::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/graph_lstm/traffic.safetensors"))?;
    let model = GraphLstm::load(&file)?;
    let (hops, reach) = (model.hops, model.mean_reach());
    println!("graph     {} roads, {} links; {hops} hops reach {reach:.1} roads on average", model.roads, model.links);
    let x: Tensor = file.tensor("input")?.context("the file has no input")?;
    let &[steps, batch, roads] = x.shape() else { anyhow::bail!("the input must be [T, B, D]") };
    ensure!(roads == model.roads, "the input has {roads} roads, the model {}", model.roads);
    println!("model     graph convolution of {hops} hops, {}; {batch} rows of {steps} steps", model.cell.config());

    let start = Instant::now();
    let run = match device.wgpu() {
        Some(own) => gpu::run(&model, &device, own, &x)?,
        None => host::run(&model, &device, &x)?,
    };
    let compiled = if device.is_gpu() { ", including shader compilation" } else { "" };
    println!("run       {}, {:.1?}{compiled}", run.how, start.elapsed());

    let error = |predicted: &[f32]| -> Result<f64> {
        let target: Tensor<f64> = file.tensor("target")?.context("the file has no target")?;
        let errors =
            predicted.iter().zip(target.data()).map(|(&predicted, target)| (f64::from(predicted) - target).abs());
        Ok(FREE_FLOW * errors.sum::<f64>() / target.data().len() as f64)
    };
    println!("forecast  mean error {:.2} km/h over all roads, five minutes ahead", error(&run.h)?);
    println!(
        "          mean error {:.2} km/h if the speed stayed as it is (the traffic is synthetic)",
        error(x.data())?
    );
    check(&file, "h", "output", &run.h)?;
    check(&file, "c", "c_n", &run.c)
}

/// Compares with NumPy's numbers in float64, each within its own bound on the error of float32 arithmetic.
fn check(file: &TensorFile, what: &str, name: &str, got: &[f32]) -> Result<()> {
    let tensor = |name: &str| -> Result<Tensor<f64>> {
        file.tensor(name)?.with_context(|| format!("the file has no tensor {name}"))
    };
    let (expected, bound) = (tensor(name)?, tensor(&format!("{name}_bound"))?);
    ensure!(got.len() == expected.data().len() && got.len() == bound.data().len(), "{name} has another shape");
    let (mut largest, mut beyond) = (0.0_f64, 0);
    for ((&got, expected), bound) in got.iter().zip(expected.data()).zip(bound.data()) {
        let difference = (f64::from(got) - expected).abs();
        // A NaN is within no bound.
        beyond += usize::from(difference > *bound || difference.is_nan());
        largest = if difference > largest || difference.is_nan() { difference } else { largest };
    }
    let allowed = bound.data().iter().copied().fold(0.0, f64::max);
    println!("check     {what}: at most {largest:.1e} from NumPy in float64; float32 explains up to {allowed:.1e}");
    ensure!(beyond == 0, "{beyond} of {} elements of {what} are not NumPy's", got.len());
    Ok(())
}
