//! `char_lm.svg`: the losses of a training beside the n-gram model.

use std::ops::Range;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::ngram::N;
use crate::train::Record;

const TRAINING: RGBColor = RGBColor(130, 130, 130);
const VALIDATION: RGBColor = RGBColor(213, 94, 0);
const NGRAM: RGBColor = RGBColor(0, 114, 178);
const FONT: &str = "sans-serif";

/// Draws the losses. `ngram` is the n-gram model's, on the validation text.
pub fn draw(path: &Path, record: &Record, ngram: f64) -> Result<()> {
    try_draw(path, record, ngram).map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn try_draw(path: &Path, record: &Record, ngram: f64) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::new(path, (1100, 520)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut training = smoothed(&record.losses);
    let validation: Vec<(f64, f64)> = record.bits.iter().map(|&(step, bits)| (step as f64, f64::from(bits))).collect();
    let steps = record.losses.len() as f64;
    let range = range(&training, &validation, ngram);
    training.retain(|point| range.contains(&point.1));
    let mut chart = ChartBuilder::on(&root)
        .caption("A character model learns, beside a model that counts", (FONT, 24))
        .margin(12)
        .margin_right(30)
        .x_label_area_size(45)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..steps.max(1.0), range)?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc("bits per character")
        .x_labels(20)
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_label_formatter(&|bits| format!("{bits:.1}"))
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .label_style((FONT, 15))
        .axis_desc_style((FONT, 16))
        .draw()?;
    let label = format!("{N}-gram model, validation");
    let ngram = vec![(0.0, ngram), (steps, ngram)];
    let lines = [
        (ngram, label.as_str(), NGRAM, 2),
        (training, "training", TRAINING, 1),
        (validation.clone(), "validation", VALIDATION, 2),
    ];
    for (points, label, color, width) in lines {
        let style = color.stroke_width(width);
        let series = chart.draw_series(LineSeries::new(points, style))?;
        series.label(label).legend(move |(x, y)| PathElement::new([(x, y), (x + 26, y)], style));
    }
    chart.draw_series(validation.iter().map(|&point| Circle::new(point, 3, VALIDATION.filled())))?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .label_font((FONT, 15))
        .legend_area_size(34)
        .draw()?;
    root.present()?;
    Ok(())
}

/// Returns the mean loss of every few steps: single steps read different texts, so their losses differ widely.
fn smoothed(losses: &[f32]) -> Vec<(f64, f64)> {
    const POINTS: usize = 200;
    let each = losses.len().div_ceil(POINTS).max(1);
    let mean = |losses: &[f32]| f64::from(losses.iter().sum::<f32>()) / losses.len() as f64;
    let point = |(at, losses): (usize, &[f32])| ((at * each) as f64 + losses.len() as f64 / 2.0, mean(losses));
    losses.chunks(each).enumerate().map(point).collect()
}

/// Returns the range of the picture, with a margin. It reaches from the lowest value to the first measurement: the
/// losses of the first steps are so much higher that the rest would be flat beside them.
fn range(training: &[(f64, f64)], validation: &[(f64, f64)], ngram: f64) -> Range<f64> {
    let all = || training.iter().chain(validation).map(|point| point.1).chain([ngram]);
    let high = validation.first().map_or(ngram, |first| first.1.max(ngram));
    let low = all().fold(f64::MAX, f64::min);
    let air = 0.08 * (high - low).max(0.1);
    low - air..high + air
}
