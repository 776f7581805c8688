//! A trained model on a real series: reads 36 years of weekly CO2 measurements, forecasts the next eight years step by
//! step, and compares the forecast with the truth, with baselines and with PyTorch.
//!
//! cargo run --release --example forecast [-- --train --device auto|gpu|cpu --adapter NAME]

mod model;
#[path = "../common/place.rs"]
mod place;
mod plot;
mod series;
mod train;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use wgpu_rnn::{Device, TensorFile};

use crate::model::Forecaster;
use crate::place::Place;
use crate::series::{Series, largest_difference, rmse};
use crate::train::Trace;

/// Forecasts eight years of the Mauna Loa CO2 record with an LSTM, and draws forecast.svg.
///
/// The LSTM was trained in PyTorch. With --train it is trained here, from the same first weights on the same weeks, which
/// takes the place of PyTorch's and is drawn in training.svg.
#[derive(Parser)]
struct Arguments {
    /// Train the LSTM first, on the CPU, instead of loading PyTorch's
    #[arg(long)]
    train: bool,

    #[command(flatten)]
    place: Place,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = arguments.place.open()?;
    println!("device    {device}: {}", device.reason());

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/forecast");
    let series = Series::load(&folder.join("co2.csv"))?;
    let file = TensorFile::open(folder.join("co2_lstm.safetensors"))?;
    let (history, truth) = (series.history(), series.held_out());
    let model = match arguments.train {
        true => train_first(&folder, &file, history)?.to(&device)?,
        false => Forecaster::load(&file, &device)?,
    };
    println!("model     {}, {} weeks of history, {} to forecast", model.lstm().config(), history.len(), truth.len());

    let start = Instant::now();
    let mut closed_loop = model.read(history)?;
    let reading = start.elapsed();
    let start = Instant::now();
    let forecast = truth.iter().map(|_| closed_loop.next_week()).collect::<Result<Vec<f64>>>()?;
    let each = start.elapsed() / truth.len() as u32;
    println!("time      history in one forward {reading:.1?}, then {each:.1?} per step with readback");

    let (naive, drift) = (series.seasonal_naive(), series.seasonal_naive_with_drift());
    let [ours, naive, drift] = [&forecast, &naive, &drift].map(|predicted| rmse(predicted, truth));
    println!("error     LSTM                   {ours:6.3} ppm (RMSE over the eight years)");
    println!("          seasonal naive         {naive:6.3} ppm, {:.1} times the LSTM's", naive / ours);
    println!("          seasonal naive + drift {drift:6.3} ppm, {:.1} times the LSTM's", drift / ours);

    let pytorch = TensorFile::open(folder.join("co2_forecast.safetensors"))?;
    let pytorch = pytorch.tensor::<f64>("forecast_ppm")?.context("the file has no forecast_ppm")?;
    let difference = largest_difference(&forecast, pytorch.data());
    match arguments.train {
        true => println!("PyTorch   {:.3} ppm with the weights of its own training", rmse(pytorch.data(), truth)),
        false => println!("PyTorch   largest difference from its forecast: {difference:.1e} ppm"),
    }

    plot::draw(Path::new("forecast.svg"), &series, &forecast)?;
    println!("wrote     forecast.svg");
    ensure!(ours < naive, "the forecast does not beat the baseline");
    // float32 and float64 differ by 1e-6 ppm here, and the file's own rounding by 1.5e-5; a lost state by 0.2.
    ensure!(arguments.train || difference < 1e-4, "the forecast is not PyTorch's");
    Ok(())
}

/// Trains as `train.py` did, and draws the losses of both trainings.
fn train_first(folder: &Path, norm: &TensorFile, history: &[f64]) -> Result<Forecaster> {
    let trace = Trace::open(&folder.join("co2_training.safetensors"))?;
    let start = Instant::now();
    let (model, losses) = train::train(&trace, norm, history, &Device::cpu())?;
    let [first, last] = [losses.first(), losses.last()].map(|loss| loss.copied().unwrap_or(f64::NAN));
    println!("training  {} steps in {:.1?}: loss {first:.3} to {last:.3}", losses.len(), start.elapsed());
    if let (Some(first), Some(last)) = (trace.losses.first(), trace.losses.last()) {
        println!("PyTorch   loss {first:.3} to {last:.3}");
    }
    plot::draw_losses(Path::new("training.svg"), &losses, &trace.losses)?;
    println!("wrote     training.svg");
    Ok(model)
}
