//! Runs any LSTM out of a safetensors file over an input out of another.
//!
//! cargo run --release --example infer -- --model model.safetensors --input input.safetensors --output output.safetensors

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use wgpu_rnn::{Device, GpuOptions, Lstm, LstmState, Tensor, TensorFile};

/// Runs an LSTM out of a safetensors file (PyTorch's tensor names) over an input out of another.
///
/// The input file holds `input`, [T, B, I] or unbatched [T, I], and if wanted the initial states `h_0` and `c_0`,
/// [L·D, B, H] or unbatched [L·D, H]: both or neither. The output file gets `output`, `h_n` and `c_n` as float32.
///
/// Exit status: 0 done, 1 bad model, input or device, 2 bad arguments. Without a result no output file is written.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The model: weight_ih_l0, weight_hh_l0 and so on, as PyTorch's state_dict names them
    #[arg(long, value_name = "FILE")]
    model: PathBuf,

    /// What stands before those names, such as "encoder."; by default the only prefix that the file has
    #[arg(long, value_name = "STR")]
    prefix: Option<String>,

    /// The input and, if wanted, the initial states
    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    /// Where output and last states go
    #[arg(long, value_name = "FILE")]
    output: PathBuf,

    /// Where to run: auto takes a real GPU or else the CPU, gpu takes software adapters as well
    #[arg(long, value_enum, default_value_t = Place::Auto)]
    device: Place,

    /// The GPU adapter whose name contains NAME; not with --device cpu
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,

    /// Batched input and output are [B, T, ·]; states keep their shape
    #[arg(long)]
    batch_first: bool,
}

/// Prints a line; that nobody reads it is no reason to fail.
macro_rules! say {
    ($($arguments:tt)*) => {{
        let _ = writeln!(std::io::stdout(), $($arguments)*);
    }};
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Place {
    Auto,
    Gpu,
    Cpu,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.adapter.is_some() && arguments.device == Place::Cpu {
        eprintln!("error: --adapter names a GPU adapter and cannot be used with --device cpu");
        return ExitCode::from(2);
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    for (name, other) in [("--model", &arguments.model), ("--input", &arguments.input)] {
        if same_file(&arguments.output, other) {
            bail!("--output and {name} are the same file");
        }
    }
    let lstm = load_model(arguments)?;
    let (input, state) = load_input(&arguments.input)?;

    let device = open_device(arguments)?;
    say!("device  {device}: {}", device.reason());
    let placed = lstm.to(&device).context("placing the model")?;
    let start = Instant::now();
    let (output, last) = placed.forward(&input, state.as_ref())?;
    let elapsed = start.elapsed();
    say!("output  {:?}, h_n and c_n {:?}", output.shape(), last.h.shape());
    let first = if device.is_gpu() { ", compiling the shaders included" } else { "" };
    say!("time    {:.3} ms{first}", elapsed.as_secs_f64() * 1e3);

    let results = [("output", &output), ("h_n", &last.h), ("c_n", &last.c)];
    TensorFile::save(&arguments.output, &results).context("writing the output")?;
    say!("wrote   {}", arguments.output.display());
    Ok(())
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn load_model(arguments: &Arguments) -> Result<Lstm> {
    let file = TensorFile::open(&arguments.model)?;
    let found = file.recurrent_prefixes();
    let prefix = match (&arguments.prefix, found.as_slice()) {
        // "encoder" is as good as "encoder." where only the latter is there.
        (Some(prefix), _) if !found.contains(prefix) && found.contains(&format!("{prefix}.")) => format!("{prefix}."),
        (Some(prefix), _) => prefix.clone(),
        (None, [only]) => only.clone(),
        (None, []) => String::new(),
        (None, several) => {
            bail!("{}: has several models, name one with --prefix: {several:?}", arguments.model.display())
        }
    };
    let lstm = Lstm::from_tensor_file(&file, &prefix).with_context(|| arguments.model.display().to_string())?;
    let weights =
        lstm.layers().iter().flat_map(|w| [Some(w.weight_ih()), Some(w.weight_hh()), w.bias_ih(), w.bias_hh()]);
    let parameters: usize = weights.flatten().map(|tensor| tensor.data().len()).sum();
    let lstm = lstm.batch_first(arguments.batch_first);
    say!("model   {} under prefix {prefix:?}, {parameters} parameters", lstm.config());
    Ok(lstm)
}

fn load_input(path: &PathBuf) -> Result<(Tensor, Option<LstmState>)> {
    let file = TensorFile::open(path)?;
    let tensor = |name| file.tensor(name).with_context(|| path.display().to_string());
    let Some(input) = tensor("input")? else {
        bail!("{}: has no tensor \"input\", only {:?}", path.display(), file.names().collect::<Vec<_>>());
    };
    let state = match (tensor("h_0")?, tensor("c_0")?) {
        (Some(h), Some(c)) => Some(LstmState { h, c }),
        (None, None) => None,
        (Some(_), None) => bail!("{}: has h_0 but not c_0; an LSTM takes both or neither", path.display()),
        (None, Some(_)) => bail!("{}: has c_0 but not h_0; an LSTM takes both or neither", path.display()),
    };
    let with = if state.is_some() { ", with h_0 and c_0" } else { "" };
    say!("input   {:?}{with}", input.shape());
    Ok((input, state))
}

fn open_device(arguments: &Arguments) -> Result<Device> {
    let mut options = GpuOptions::new();
    if let Some(name) = &arguments.adapter {
        options = options.name(name);
    }
    Ok(match (arguments.device, &arguments.adapter) {
        (Place::Cpu, _) => Device::cpu(),
        (Place::Auto, None) => Device::auto(),
        (Place::Auto, Some(_)) | (Place::Gpu, _) => Device::gpu(&options)?,
    })
}
