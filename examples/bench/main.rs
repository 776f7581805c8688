//! Times layers of chosen shapes on this machine. Each result is checked before it is timed.
//!
//! cargo run --release --example bench -- --help

mod measure;
mod picture;
#[path = "../common/place.rs"]
mod place;
mod shaders;
mod shape;
mod train;

use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use wgpu_rnn::{
    Config, Device, GruBuffers, GruKind, Kind, Layer, LstmBuffers, LstmKind, Placed, Precision, RnnBuffers, RnnKind,
    Strategy, Tensor, wgpu,
};

use crate::measure::{MakeBuffers, Times};
use crate::place::Place;
use crate::shape::Shape;

/// Times forwards of recurrent layers with random weights, and prints one line per shape.
///
/// "call" is a whole forward including upload and readback, "device" the time from submission to completion without
/// them, and "gpu" the time by the GPU's own clock, if it has one. Operations are those of the matrix products; a
/// multiply-add counts as two.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The kind of layer
    #[arg(long, value_enum, default_value_t = CellName::Lstm)]
    cell: CellName,
    /// T,B,I,H[,L[,D]]: time steps, batch, input features, hidden size, layers, directions; may be repeated [default:
    /// eight common shapes]
    #[arg(long, value_name = "SHAPE")]
    shape: Vec<Shape>,
    /// The number type of the weights
    #[arg(long, value_enum, default_value_t = PrecisionName::F32)]
    precision: PrecisionName,
    /// How a GPU runs the recurrence; shapes that the strategy cannot run are skipped, with the reason
    #[arg(long, default_value = "auto", value_parser = strategies())]
    strategy: Strategy,
    /// Time the strategies of the GPU first, and use the fastest
    #[arg(long, conflicts_with = "strategy")]
    tune: bool,
    /// The number of times that each shape is timed, after a warm-up
    #[arg(long, default_value = "10", value_name = "N")]
    repeat: NonZeroUsize,
    /// Time training passes: a forward and the backward, with the gradients of everything. The call is then the whole
    /// pass, compared with the forward alone
    #[arg(long)]
    train: bool,
    /// Time training steps: a pass of `--train` whose gradients of the weights stay where they are, and a step of AdamW
    /// with them
    #[arg(long, requires = "train")]
    step: bool,
    /// Print one JSON object per line instead of the table
    #[arg(long)]
    json: bool,
    /// Draw a picture instead of the table, as SVG: time per step against hidden size, one line per strategy of the GPU
    #[arg(long, value_name = "FILE", conflicts_with_all = OF_TABLE)]
    picture: Option<PathBuf>,
    /// T of the picture
    #[arg(long, default_value = "50", value_name = "T", requires = "picture", conflicts_with_all = OF_TABLE)]
    steps: NonZeroUsize,
    /// B of the picture
    #[arg(long, default_value = "1", value_name = "B", requires = "picture", conflicts_with_all = OF_TABLE)]
    batch: NonZeroUsize,
    /// L of the picture
    #[arg(long, default_value = "1", value_name = "L", requires = "picture", conflicts_with_all = OF_TABLE)]
    layers: NonZeroUsize,
    /// Write every kernel that ships to a folder, as WGSL, instead of measuring
    #[arg(long, value_name = "DIR", exclusive = true)]
    shaders: Option<PathBuf>,
}

/// Options that a picture has no use for.
const OF_TABLE: [&str; 6] = ["tune", "shape", "strategy", "json", "train", "step"];

/// Parses the name of a strategy.
fn strategies() -> impl TypedValueParser<Value = Strategy> {
    let named = |name: String| Strategy::ALL.into_iter().find(|strategy| strategy.name() == name);
    PossibleValuesParser::new(Strategy::ALL.map(Strategy::name)).map(move |name| named(name).unwrap_or_default())
}

#[derive(Clone, Copy, ValueEnum)]
enum CellName {
    Lstm,
    Gru,
    Rnn,
}

impl CellName {
    fn title(self) -> &'static str {
        match self {
            Self::Lstm => "LSTM",
            Self::Gru => "GRU",
            Self::Rnn => "RNN",
        }
    }
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum PrecisionName {
    F32,
    F16,
}

impl PrecisionName {
    fn precision(self) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::F16 => Precision::F16,
        }
    }

    /// Returns the bytes of a weight.
    fn bytes(self) -> usize {
        if self == Self::F16 { 2 } else { 4 }
    }

    fn name(self) -> &'static str {
        if self == Self::F16 { "f16" } else { "f32" }
    }
}

/// The measurements of one shape; the fields of a JSON line.
#[derive(Serialize)]
struct Line {
    device: String,
    adapter: Option<String>,
    cell: &'static str,
    t: usize,
    b: usize,
    i: usize,
    h: usize,
    layers: usize,
    directions: usize,
    precision: &'static str,
    /// "cpu", or the strategy of the GPU.
    strategy: &'static str,
    /// The plan of the GPU, in words.
    plan: Option<String>,
    median_ms: f64,
    min_ms: f64,
    max_ms: f64,
    gflops: f64,
    /// The recurrent weights that a step of one layer reads.
    bytes_per_step: usize,
    dispatches: usize,
    device_bytes: u64,
    /// From submission to completion.
    device_ms: Option<f64>,
    /// By the GPU's own clock.
    gpu_ms: Option<f64>,
    /// The time of a training pass as a multiple of that of the forward alone.
    train_over_forward: Option<f64>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(folder) = &arguments.shaders {
        return shaders::write(folder);
    }
    let (device, reason) = open(&arguments)?;
    if let Some(path) = &arguments.picture {
        return picture::run(path, &device, &arguments);
    }
    if !arguments.json {
        println!("{device}: {reason}");
        println!(
            "{:>24} {:>11} {:>11} {:>11} {:>12} {:>9} {:>11} {:>11} {:>9}  plan",
            "T,B,I,H,L,D", "call ms", "min", "max", "us per step", "GFLOP/s", "device ms", "gpu ms", "x forward"
        );
    }
    let shapes = if arguments.shape.is_empty() { shape::DEFAULT.to_vec() } else { arguments.shape.clone() };
    let (count, mut skipped) = (shapes.len(), 0);
    let progress = progress(count, &arguments)?;
    for shape in shapes {
        progress.set_message(shape.to_string());
        let line = match arguments.cell {
            CellName::Lstm => {
                run::<LstmKind>(&device, shape, &arguments, |own| LstmBuffers::new(&own[0], &own[1], &own[2], &own[3]))
            }
            CellName::Gru => {
                run::<GruKind>(&device, shape, &arguments, |own| GruBuffers::new(&own[0], &own[1], &own[2]))
            }
            CellName::Rnn => {
                run::<RnnKind>(&device, shape, &arguments, |own| RnnBuffers::new(&own[0], &own[1], &own[2]))
            }
        };
        progress.inc(1);
        let line = match line {
            // The other shapes may still run.
            Err(error) if is_unsupported(&error) => {
                progress.suspend(|| eprintln!("{shape} is skipped: {error}"));
                skipped += 1;
                continue;
            }
            line => line.with_context(|| format!("shape {shape}"))?,
        };
        progress.suspend(|| print(&line, arguments.json))?;
    }
    progress.finish_and_clear();
    ensure!(skipped < count, "none of the shapes can run");
    Ok(())
}

fn progress(shapes: usize, arguments: &Arguments) -> Result<ProgressBar> {
    let hidden = arguments.json || !std::io::stderr().is_terminal();
    let progress = if hidden { ProgressBar::hidden() } else { ProgressBar::new(shapes as u64) };
    progress.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} shapes, now {msg}")?);
    Ok(progress)
}

fn is_unsupported(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(wgpu_rnn::Error::Unsupported { .. } | wgpu_rnn::Error::Limit { .. }))
}

/// Opens the device, and returns why it was chosen. A GPU is opened with timestamps if it has them, which the crate
/// does not request for its own devices.
fn open(arguments: &Arguments) -> Result<(Device, String)> {
    let chosen = arguments.place.open()?;
    let reason = chosen.reason().to_owned();
    let Some(info) = chosen.adapter_info() else { return Ok((chosen, reason)) };
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let same = |other: wgpu::AdapterInfo| other.name == info.name && other.backend == info.backend;
    let adapter = adapters.into_iter().find(|adapter| same(adapter.get_info())).context("the adapter is gone")?;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        required_limits: adapter.limits(),
        required_features: adapter.features() & (wgpu::Features::TIMESTAMP_QUERY | Device::optional_features()),
        ..Default::default()
    }))?;
    Ok((Device::from_wgpu(device, queue), reason))
}

fn run<K: Kind>(device: &Device, shape: Shape, arguments: &Arguments, make: MakeBuffers<K>) -> Result<Line> {
    let (times, precision) = (arguments.repeat.get(), arguments.precision);
    let Shape { t, b, i, h, layers, directions } = shape;
    let config = Config::<K>::new(i, h).with_num_layers(layers).with_bidirectional(directions == 2);
    let layer = Layer::random(config, 0)?;
    let mut model = layer.place(device).precision(precision.precision()).run()?;
    if arguments.strategy != Strategy::Auto {
        model.set_strategy(arguments.strategy)?;
    }
    if arguments.tune {
        model.tune(&[t, b, i])?;
    }
    let x = wave(shape)?;
    check(&layer, &model, precision.precision(), &x).context("the result is wrong, so its time means nothing")?;

    let forward = measure::whole_call(&model, &x, times)?;
    let pass = match (arguments.train, arguments.step) {
        (false, _) => None,
        (true, false) => Some(train::whole_pass(&layer, &model, &x, times)?),
        (true, true) => Some(train::whole_step(&layer, &mut model, &x, times)?),
    };
    let call = pass.unwrap_or(forward);
    let gates = layer.layers()[0].weight_hh().shape()[0] / h;
    let mut flops = 0.0;
    for n in 0..layers {
        let input = if n == 0 { i } else { directions * h };
        flops += [2, t, b, directions, gates, h, input + h].map(|n| n as f64).iter().product::<f64>();
    }
    if arguments.train {
        // The backward multiplies by each weight twice: for the gradient of what it multiplies, and for its own.
        flops *= 3.0;
    }
    let mut on_device: (Option<Times>, Option<Times>) = (None, None);
    if device.is_gpu() && !arguments.train {
        let state = (layers * directions * b * h * 4) as u64;
        let bytes = [(t * b * i * 4) as u64, (t * b * directions * h * 4) as u64, state, state];
        let (submitted, gpu) = measure::on_device(&model, device, (t, b), &bytes, make, times)?;
        on_device = (Some(submitted), gpu);
    }
    let (strategy, plan, dispatches, device_bytes) = match device.is_gpu() {
        false => ("cpu", None, 0, 0),
        true if arguments.train => {
            let plan = model.plan_training(t, b)?;
            let dispatches = plan.forward().dispatch_count() + plan.backward_dispatch_count();
            (plan.forward().strategy().name(), Some(plan.to_string()), dispatches, plan.device_bytes())
        }
        true => {
            let plan = model.plan(t, b)?;
            let dispatches = plan.as_gpu().map_or(0, wgpu_rnn::GpuPlan::dispatch_count);
            (plan.strategy().map_or("cpu", Strategy::name), Some(plan.to_string()), dispatches, plan.device_bytes())
        }
    };
    Ok(Line {
        device: device.to_string(),
        adapter: device.adapter_info().map(|info| info.name.clone()),
        cell: ["rnn", "", "gru", "lstm"][gates - 1],
        t,
        b,
        i,
        h,
        layers,
        directions,
        precision: precision.name(),
        strategy,
        plan,
        median_ms: ms(call.median),
        min_ms: ms(call.min),
        max_ms: ms(call.max),
        gflops: flops / call.median.as_secs_f64() / 1e9,
        bytes_per_step: directions * gates * h * h * precision.bytes(),
        dispatches,
        device_bytes,
        device_ms: on_device.0.map(|times| ms(times.median)),
        gpu_ms: on_device.1.map(|times| ms(times.median)),
        train_over_forward: pass.map(|pass| pass.median.as_secs_f64() / forward.median.as_secs_f64()),
    })
}

/// Returns the input of all measurements.
fn wave(Shape { t, b, i, .. }: Shape) -> Result<Tensor> {
    let mut x = Tensor::zeros([t, b, i])?;
    (0..).zip(x.data_mut()).for_each(|(n, x)| *x = (n as f32 * 0.37).sin());
    Ok(x)
}

/// Compares a GPU with the CPU path, and the CPU path with the reference in f64.
fn check<K: Kind>(layer: &Layer<K>, model: &Placed<K>, precision: Precision, x: &Tensor) -> Result<()> {
    let (output, _) = model.forward(x, None)?;
    let expected: Vec<f64> = if model.device().is_gpu() {
        let cpu = layer.place(&Device::cpu()).precision(precision).run()?;
        cpu.forward(x, None)?.0.data().iter().map(|&v| v.into()).collect()
    } else {
        let reference = layer.cast::<f64>()?.place(&Device::cpu()).precision(precision).run()?;
        reference.forward(&x.cast()?, None)?.0.into_data()
    };
    for (at, (&got, expected)) in output.data().iter().zip(expected).enumerate() {
        let fits = (f64::from(got) - expected).abs() <= 2e-5 + 1e-4 * expected.abs();
        ensure!(fits, "element {at} of the output is {got}, expected {expected}");
    }
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn print(line: &Line, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(line)?);
        return Ok(());
    }
    let Line { t, b, i, h, layers, directions, .. } = line;
    let optional = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.3}"));
    println!(
        "{:>24} {:>11.3} {:>11.3} {:>11.3} {:>12.2} {:>9.1} {:>11} {:>11} {:>9}  {}",
        format!("{t},{b},{i},{h},{layers},{directions}"),
        line.median_ms,
        line.min_ms,
        line.max_ms,
        line.median_ms * 1e3 / (t * layers) as f64,
        line.gflops,
        optional(line.device_ms),
        optional(line.gpu_ms),
        line.train_over_forward.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
        line.plan.as_deref().unwrap_or(line.strategy),
    );
    Ok(())
}
