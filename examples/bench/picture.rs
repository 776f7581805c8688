//! `--picture`: time per step against hidden size, one line per strategy.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use indicatif::ProgressBar;
use plotters::prelude::*;
use wgpu_rnn::{Config, Device, Error, GruKind, Kind, Layer, LstmKind, RnnKind, Strategy};

use crate::shape::Shape;
use crate::{Arguments, CellName, check, measure, wave};

const HIDDEN_SIZES: [usize; 11] = [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];
/// A strategy whose call takes longer is skipped from that size on.
const PATIENCE: Duration = Duration::from_secs(2);

const COLORS: [RGBColor; 4] =
    [RGBColor(213, 94, 0), RGBColor(0, 114, 178), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];
const FONT: &str = "sans-serif";

/// The (hidden size, microseconds per step of a layer) of a strategy.
struct Line {
    strategy: Strategy,
    points: Vec<(f64, f64)>,
}

pub fn run(path: &Path, device: &Device, arguments: &Arguments) -> Result<()> {
    ensure!(
        device.is_gpu(),
        "--picture compares the strategies of a GPU, and this is the CPU ({}); --device gpu accepts software adapters \
         as well",
        device.reason()
    );
    // Checked before minutes of measuring whose result would be lost.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    ensure!(folder.is_none_or(Path::is_dir), "{}: there is no such folder", path.display());
    let progress = crate::progress(HIDDEN_SIZES.len(), arguments)?;
    let lines = match arguments.cell {
        CellName::Lstm => measure_all::<LstmKind>(device, arguments, &progress),
        CellName::Gru => measure_all::<GruKind>(device, arguments, &progress),
        CellName::Rnn => measure_all::<RnnKind>(device, arguments, &progress),
    }?;
    progress.finish_and_clear();
    ensure!(lines.iter().any(|line| !line.points.is_empty()), "no strategy can run any size: nothing to draw");

    let Arguments { steps, batch, layers, repeat, .. } = arguments;
    let title = format!("{} ({}): time per step by strategy", arguments.cell.title(), arguments.precision.name());
    let how = format!(
        "T = {steps}, B = {batch}, L = {layers}, I = H; median of {repeat} calls, each with upload and readback"
    );
    draw(path, [&title, &device.to_string(), &how], &lines).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    println!("{}: {title}, {device}", path.display());
    Ok(())
}

/// Measures all strategies. Each result is checked before it is timed. The strategies take turns, so that a busy
/// machine slows all of them down.
fn measure_all<K: Kind>(device: &Device, arguments: &Arguments, progress: &ProgressBar) -> Result<Vec<Line>> {
    let (t, b, layers) = (arguments.steps.get(), arguments.batch.get(), arguments.layers.get());
    let precision = arguments.precision.precision();
    let asked = Strategy::ALL.into_iter().filter(|&strategy| strategy != Strategy::Auto);
    let mut lines: Vec<_> = asked.map(|strategy| Line { strategy, points: Vec::new() }).collect();
    let (mut slow, mut rejected) = (Vec::new(), Vec::new());
    for h in HIDDEN_SIZES {
        let shape = Shape { t, b, i: h, h, layers, directions: 1 };
        progress.set_message(shape.to_string());
        let layer = Layer::random(Config::<K>::new(h, h).with_num_layers(layers), 0)?;
        let model = layer.place(device).precision(precision).run()?;
        let x = wave(shape)?;
        for Line { strategy, points } in &mut lines {
            if slow.contains(strategy) {
                continue;
            }
            let note = |why: String| progress.suspend(|| eprintln!("{strategy} is skipped {why}"));
            match model.set_strategy(*strategy).and_then(|()| model.plan(t, b)) {
                Err(error @ (Error::Unsupported { .. } | Error::Limit { .. })) => {
                    // Once is enough: the reason is usually the same for all larger sizes.
                    if !rejected.contains(strategy) {
                        note(format!("at H = {h}: {error}"));
                        rejected.push(*strategy);
                    }
                    continue;
                }
                planned => planned?,
            };
            check(&layer, &model, precision, &x).with_context(|| format!("{strategy} of {shape} is wrong"))?;
            let start = Instant::now();
            model.forward(&x, None)?;
            if start.elapsed() > PATIENCE {
                note(format!("from H = {h} on: a call takes {:.1} s", start.elapsed().as_secs_f64()));
                slow.push(*strategy);
                continue;
            }
            let median = measure::whole_call(&model, &x, arguments.repeat.get())?.median;
            points.push((h as f64, median.as_secs_f64() * 1e6 / (t * layers) as f64));
        }
        progress.inc(1);
    }
    Ok(lines)
}

fn draw(path: &Path, [title, device, how]: [&str; 3], lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::new(path, (900, 600)).into_drawing_area();
    root.fill(&WHITE)?;
    let root =
        root.margin(12, 0, 0, 0).titled(title, (FONT, 24))?.titled(device, (FONT, 16))?.titled(how, (FONT, 16))?;
    let (head, body) = root.split_vertically(24);

    let times = || lines.iter().flat_map(|line| line.points.iter().map(|point| point.1));
    let (low, high) = (times().fold(f64::MAX, f64::min) / 1.5, times().fold(0.0, f64::max) * 1.5);
    let (first, last) = (HIDDEN_SIZES[0] as f64, HIDDEN_SIZES[HIDDEN_SIZES.len() - 1] as f64);
    let doubled = (0..).map(|n| first * f64::from(1 << n)).take_while(|&h| h <= last).collect::<Vec<_>>();
    let mut chart = ChartBuilder::on(&body).margin(12).x_label_area_size(45).y_label_area_size(75).build_cartesian_2d(
        (first / 1.1..last * 1.1).log_scale().with_key_points(doubled),
        (low..high).log_scale().with_key_points(one_two_five(low, high)),
    )?;
    chart
        .configure_mesh()
        .x_desc("hidden size H")
        .y_desc("time per step of a layer (µs)")
        .x_label_formatter(&|h| format!("{h:.0}"))
        .y_label_formatter(&|us| us.to_string())
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .label_style((FONT, 15))
        .axis_desc_style((FONT, 16))
        .draw()?;
    // A strategy keeps its colour if another has no line. The legend has a row of its own above the chart, where no
    // line can cross it.
    let colored = lines.iter().zip(COLORS.into_iter().cycle()).filter(|(line, _)| !line.points.is_empty());
    for (n, (Line { strategy, points }, color)) in (0..).zip(colored) {
        let style = color.stroke_width(2);
        chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
        chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, color.filled())))?;
        let x = 100 + 140 * n;
        head.draw(&PathElement::new([(x, 16), (x + 26, 16)], style))?;
        head.draw(&Text::new(strategy.name(), (x + 34, 8), (FONT, 16)))?;
    }
    root.present()?;
    Ok(())
}

/// Returns the ticks of a logarithmic axis.
fn one_two_five(low: f64, high: f64) -> Vec<f64> {
    let tens = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
    let all = tens.flat_map(|n| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(n)));
    all.filter(|value| (low..=high).contains(value)).collect()
}
