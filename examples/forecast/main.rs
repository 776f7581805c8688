//! A trained model on a real series: reads 36 years of weekly CO2 measurements, forecasts the next eight years step by
//! step, and compares the forecast with the truth, with baselines and with PyTorch.
//!
//! cargo run --release --example forecast [-- --device auto|gpu|cpu --adapter NAME]

mod model;
#[path = "../common/place.rs"]
mod place;
mod plot;
mod series;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use wgpu_rnn::TensorFile;

use crate::model::Forecaster;
use crate::place::Place;
use crate::series::{Series, largest_difference, rmse};

/// Forecasts eight years of the Mauna Loa CO2 record with an LSTM trained in PyTorch, and draws forecast.svg.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    place: Place,
}

fn main() -> Result<()> {
    let device = Arguments::parse().place.open()?;
    println!("device    {device}: {}", device.reason());

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/forecast");
    let series = Series::load(&folder.join("co2.csv"))?;
    let model = Forecaster::load(&TensorFile::open(folder.join("co2_lstm.safetensors"))?, &device)?;
    let (history, truth) = (series.history(), series.held_out());
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
    println!("PyTorch   largest difference from its forecast: {difference:.1e} ppm");

    plot::draw(Path::new("forecast.svg"), &series, &forecast)?;
    println!("wrote     forecast.svg");
    ensure!(ours < naive, "the forecast does not beat the baseline");
    // float32 and float64 differ by 1e-6 ppm here, and the file's own rounding by 1.5e-5; a lost state by 0.2.
    ensure!(difference < 1e-4, "the forecast is not PyTorch's");
    Ok(())
}
