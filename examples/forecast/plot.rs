//! `forecast.svg`, with the series above and the errors below, and `training.svg`, with the losses of a training.

use std::ops::Range;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::series::Series;

const HISTORY: RGBColor = RGBColor(130, 130, 130);
const TRUTH: RGBColor = RGBColor(20, 20, 20);
const FORECAST: RGBColor = RGBColor(213, 94, 0);
const NAIVE: RGBColor = RGBColor(0, 114, 178);
const DRIFT: RGBColor = RGBColor(0, 158, 115);
const FONT: &str = "sans-serif";

/// The number of years of history shown before the forecast.
const YEARS_SHOWN: f64 = 10.0;

pub fn draw(path: &Path, series: &Series, forecast: &[f64]) -> Result<()> {
    try_draw(path, series, forecast).map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn try_draw(path: &Path, series: &Series, forecast: &[f64]) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::new(path, (1100, 720)).into_drawing_area();
    root.fill(&WHITE)?;
    let (upper, lower) = root.split_vertically(490);

    let start = series.years[series.split] - YEARS_SHOWN;
    let from = series.years.iter().position(|&year| year >= start).unwrap_or(0);
    let years = start..series.years[series.years.len() - 1] + 0.2;
    let ahead = &series.years[series.split..];
    let (naive, drift) = (series.seasonal_naive(), series.seasonal_naive_with_drift());

    let mut chart = ChartBuilder::on(&upper)
        .caption("CO2 on Mauna Loa, weekly: eight years forecast by an LSTM", (FONT, 24))
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(60)
        .build_cartesian_2d(years.clone(), padded(&[&series.ppm[from..], forecast]))?;
    let ppm = |ppm: &f64| format!("{ppm:.0}");
    mesh(&mut chart, "", "CO2 (ppm)", &ppm)?;
    // The last week of the history connects it to the lines that follow.
    let joined = from..series.split + 1;
    line(&mut chart, &series.years[joined.clone()], &series.ppm[joined], "history, read by the model", HISTORY, 2)?;
    line(&mut chart, ahead, &naive, "baseline: last year repeated", NAIVE, 1)?;
    line(&mut chart, ahead, &drift, "the same with ten years' drift", DRIFT, 1)?;
    line(&mut chart, ahead, series.held_out(), "truth, held out", TRUTH, 2)?;
    line(&mut chart, ahead, forecast, "forecast, step by step", FORECAST, 2)?;
    legend(&mut chart, SeriesLabelPosition::UpperLeft)?;

    let error = |predicted: &[f64]| predicted.iter().zip(series.held_out()).map(|(p, t)| p - t).collect::<Vec<_>>();
    let [of_forecast, of_naive, of_drift] = [forecast, &naive, &drift].map(error);
    let mut chart = ChartBuilder::on(&lower)
        .margin(12)
        .x_label_area_size(45)
        .y_label_area_size(60)
        .build_cartesian_2d(years, padded(&[&of_forecast, &of_naive]))?;
    mesh(&mut chart, "year", "error (ppm)", &ppm)?;
    line(&mut chart, ahead, &of_naive, "baseline - truth", NAIVE, 1)?;
    line(&mut chart, ahead, &of_drift, "with drift - truth", DRIFT, 1)?;
    line(&mut chart, ahead, &vec![0.0; ahead.len()], "", TRUTH, 1)?;
    line(&mut chart, ahead, &of_forecast, "forecast - truth", FORECAST, 2)?;
    legend(&mut chart, SeriesLabelPosition::LowerLeft)?;
    root.present()?;
    Ok(())
}

/// Draws the losses of two trainings, on a logarithmic scale.
pub fn draw_losses(path: &Path, ours: &[f64], pytorch: &[f64]) -> Result<()> {
    try_draw_losses(path, ours, pytorch).map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn try_draw_losses(path: &Path, ours: &[f64], pytorch: &[f64]) -> Drawn {
    let root = SVGBackend::new(path, (1100, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let steps: Vec<f64> = (1..=ours.len()).map(|step| step as f64).collect();
    let logarithms = |losses: &[f64]| losses.iter().map(|loss| loss.log10()).collect::<Vec<_>>();
    let (ours, pytorch) = (logarithms(ours), logarithms(pytorch));
    let mut chart = ChartBuilder::on(&root)
        .caption("The same training in PyTorch and in this crate", (FONT, 24))
        .margin(12)
        .x_label_area_size(45)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..steps.len() as f64, padded(&[&ours, &pytorch]))?;
    mesh(&mut chart, "step", "loss", &|logarithm| format!("{:.2}", 10_f64.powf(*logarithm)))?;
    line(&mut chart, &steps, &pytorch, "PyTorch", NAIVE, 3)?;
    line(&mut chart, &steps, &ours, "wgpu-rnn", FORECAST, 1)?;
    legend(&mut chart, SeriesLabelPosition::UpperRight)?;
    root.present()?;
    Ok(())
}

type Chart<'a> = ChartContext<
    'a,
    SVGBackend<'a>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn mesh(chart: &mut Chart<'_>, x: &str, y: &str, label: &dyn Fn(&f64) -> String) -> Drawn {
    chart
        .configure_mesh()
        .x_desc(x)
        .y_desc(y)
        .x_labels(20)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(label)
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .label_style((FONT, 15))
        .axis_desc_style((FONT, 16))
        .draw()?;
    Ok(())
}

fn line(chart: &mut Chart<'_>, x: &[f64], y: &[f64], label: &str, color: RGBColor, width: u32) -> Drawn {
    let style = color.stroke_width(width);
    let series = chart.draw_series(LineSeries::new(x.iter().copied().zip(y.iter().copied()), style))?;
    if !label.is_empty() {
        series.label(label).legend(move |(x, y)| PathElement::new([(x, y), (x + 26, y)], style));
    }
    Ok(())
}

fn legend(chart: &mut Chart<'_>, position: SeriesLabelPosition) -> Drawn {
    chart
        .configure_series_labels()
        .position(position)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .label_font((FONT, 15))
        .legend_area_size(34)
        .draw()?;
    Ok(())
}

/// Returns the range of all values with a margin.
fn padded(values: &[&[f64]]) -> Range<f64> {
    let all = || values.iter().flat_map(|v| v.iter().copied());
    let (low, high) = (all().fold(f64::MAX, f64::min), all().fold(f64::MIN, f64::max));
    let air = 0.06 * (high - low);
    low - air..high + air
}
