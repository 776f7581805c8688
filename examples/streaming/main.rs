//! Live data: many stations follow the Mauna Loa CO2 record, each starting in a different week. Measurements arrive in
//! small pieces, from different stations each time, and the model of the `forecast` example predicts the next week of
//! each station. Its states stay on the device between the pieces.
//!
//! cargo run --release --example streaming [-- --device auto|gpu|cpu --adapter NAME --stations 64 --most-weeks 4]

// The record and the model of the `forecast` example.
#[allow(dead_code)]
#[path = "../forecast/model.rs"]
mod model;
#[path = "../common/place.rs"]
mod place;
#[allow(dead_code)]
#[path = "../forecast/series.rs"]
mod series;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use wgpu_rnn::{Slot, Tensor, TensorFile};

use crate::model::{FEATURES, FIRST_WEEK, Forecaster};
use crate::place::Place;
use crate::series::{Series, rmse};

/// Predicts the next week of many live series, pushed in small pieces through slots on the device.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The number of series
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    stations: u16,
    /// The largest number of weeks of one series that arrive at once
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    most_weeks: u16,
}

/// A live series: the record from a first week on.
struct Station {
    slot: Slot,
    /// The next week to predict.
    week: usize,
    first_week: usize,
    /// The outputs of the LSTM for each week, to be compared with a whole run.
    outputs: Vec<f32>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = arguments.place.open()?;
    println!("device    {device}: {}", device.reason());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/forecast");
    let series = Series::load(&folder.join("co2.csv"))?;
    let model = Forecaster::load(&TensorFile::open(folder.join("co2_lstm.safetensors"))?, &device)?;
    let (record, count) = (&series.ppm, usize::from(arguments.stations));
    println!("model     {}, {count} stations, {} weeks of record", model.lstm().config(), record.len());

    let mut streams = model.lstm().streams(count).run()?;
    // Stations start one after the other, over the first half of the record.
    let first_week = |n: usize| FIRST_WEEK + n * record.len() / 2 / count;
    let station = |(n, &slot): (usize, &Slot)| Station {
        slot,
        week: first_week(n),
        first_week: first_week(n),
        outputs: Vec::new(),
    };
    let mut stations: Vec<Station> = streams.slots().iter().enumerate().map(station).collect();
    let all_weeks: usize = stations.iter().map(|station| record.len() - station.week).sum();

    let style = ProgressStyle::with_template("pushing   {wide_bar} {pos}/{len} weeks, {per_sec}, {eta} left")?;
    let progress = ProgressBar::new(all_weeks as u64).with_style(style);
    let mut rng = Pcg64::seed_from_u64(0);
    let mut latencies = Vec::new();
    while stations.iter().any(|station| station.week < record.len()) {
        // The stations that have new measurements, and the number of weeks of each.
        let mut news = Vec::new();
        for (n, station) in stations.iter().enumerate() {
            let weeks = rng.random_range(0..=usize::from(arguments.most_weeks)).min(record.len() - station.week);
            if weeks > 0 {
                news.push((n, weeks));
            }
        }
        let Some(steps) = news.iter().map(|&(_, weeks)| weeks).max() else { continue };
        let slots: Vec<Slot> = news.iter().map(|&(n, _)| stations[n].slot).collect();
        let lengths: Vec<usize> = news.iter().map(|&(_, weeks)| weeks).collect();
        let mut chunk = Tensor::zeros([steps, news.len(), FEATURES])?;
        for (row, &(n, weeks)) in news.iter().enumerate() {
            for step in 0..weeks {
                let input = model.input(record, stations[n].week + step);
                chunk.row_mut(&[step, row]).context("a row of the chunk")?.copy_from_slice(&input);
            }
        }

        let start = Instant::now();
        let output = streams.request(&chunk).slots(&slots).lengths(&lengths).run()?;
        latencies.push(start.elapsed());
        for (row, &(n, weeks)) in news.iter().enumerate() {
            for step in 0..weeks {
                stations[n].outputs.extend_from_slice(output.row(&[step, row]).context("a row of the output")?);
            }
            stations[n].week += weeks;
            progress.inc(weeks as u64);
        }
    }
    progress.finish_and_clear();

    report(&mut latencies, all_weeks);
    let (ours, persistence) = errors(&model, &series, &stations);
    println!(
        "error     LSTM            {ours:.3} ppm (RMSE one week ahead, over the eight years it was not trained on)"
    );
    println!("          last week's CO2 {persistence:.3} ppm");
    compare_with_whole_run(&model, record, &stations)?;
    ensure!(ours < persistence, "the predictions do not beat the value of the week before");
    Ok(())
}

/// Prints the latencies of the pushes, readback included.
fn report(latencies: &mut [Duration], weeks: usize) {
    latencies.sort();
    let nearest_rank = |percent: usize| latencies[(latencies.len() * percent).div_ceil(100) - 1];
    let [p50, p95, p99] = [50, 95, 99].map(nearest_rank);
    let total: Duration = latencies.iter().sum();
    println!("latency   p50 {p50:.1?}, p95 {p95:.1?}, p99 {p99:.1?} per push, {} pushes", latencies.len());
    println!("rate      {:.0} weeks per second", weeks as f64 / total.as_secs_f64());
}

/// Returns the error of all stations' predictions of the held-out weeks, and that of repeating the week before.
fn errors(model: &Forecaster, series: &Series, stations: &[Station]) -> (f64, f64) {
    let record = &series.ppm;
    let (mut predicted, mut before, mut truth) = (Vec::new(), Vec::new(), Vec::new());
    for station in stations {
        let hidden = station.outputs.len() / (record.len() - station.first_week);
        for (week, output) in (station.first_week..).zip(station.outputs.chunks_exact(hidden)) {
            if week >= series.split {
                predicted.push(record[week - 1] + model.change(model.head(output), week));
                before.push(record[week - 1]);
                truth.push(record[week]);
            }
        }
    }
    (rmse(&predicted, &truth), rmse(&before, &truth))
}

/// Checks that one forward over the whole series of all stations gives the same bits.
fn compare_with_whole_run(model: &Forecaster, record: &[f64], stations: &[Station]) -> Result<()> {
    let lengths: Vec<usize> = stations.iter().map(|station| record.len() - station.first_week).collect();
    let (steps, count) = (lengths.iter().copied().max().unwrap_or(0), stations.len());
    let mut input = Tensor::zeros([steps, count, FEATURES])?;
    for (row, station) in stations.iter().enumerate() {
        for (step, week) in (station.first_week..record.len()).enumerate() {
            let features = input.row_mut(&[step, row]).context("a row of the input")?;
            features.copy_from_slice(&model.input(record, week));
        }
    }
    let (output, _) = model.lstm().request(&input).lengths(&lengths).run()?;
    for (row, (station, &length)) in stations.iter().zip(&lengths).enumerate() {
        let whole = (0..length).filter_map(|step| output.row(&[step, row])).flatten().map(|v| v.to_bits());
        ensure!(whole.eq(station.outputs.iter().map(|v| v.to_bits())), "station {row} differs from a whole run");
    }
    println!("check     all outputs equal those of one whole run, bit for bit");
    Ok(())
}
