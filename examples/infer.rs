//! Runs any LSTM, GRU or RNN from a safetensors file over the input in another file.
//!
//! cargo run --release --example infer -- --model m.safetensors --input in.safetensors --output out.safetensors

#[path = "common/place.rs"]
mod place;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Parser, ValueEnum};
use wgpu_rnn::{AnyLayer, Kind, Layer, Nonlinearity, Tensor, TensorFile};

use crate::place::Place;

/// Runs an LSTM, GRU or RNN from a safetensors file (with PyTorch's tensor names) over the input in another file.
///
/// The input file holds `input`, [T, B, I] or unbatched [T, I]. Optional are the initial state, [L·D, B, H] or
/// unbatched [L·D, H] (for h_0 of an LSTM with a projection, P instead of H): `h_0` and `c_0` for an LSTM, both or
/// neither, `h_0` for the others; and `lengths`, int64 [B], if rows have different numbers of time steps. Beyond the
/// end of a row the output is 0. The output file receives `output`, `h_n` and, for an LSTM, `c_n`, as float32. The
/// rows of the weights tell the kind of model: 4·H, 3·H or H.
///
/// Exit status: 0 success, 1 bad model, input or device, 2 bad arguments. On failure no output file is written.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The model: weight_ih_l0, weight_hh_l0 and so on, as PyTorch's state_dict names them
    #[arg(long, value_name = "FILE")]
    model: PathBuf,

    /// The prefix of those names, such as "encoder." [default: the only one in the file]
    #[arg(long, value_name = "STR")]
    prefix: Option<String>,

    /// The input and, optionally, initial states and lengths
    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    /// The file to write output and last states to
    #[arg(long, value_name = "FILE")]
    output: PathBuf,

    #[command(flatten)]
    place: Place,

    /// The nonlinearity of an RNN, which weights do not record; not for other models [default: as recorded in the
    /// model's file, or tanh]
    #[arg(long, value_enum)]
    nonlinearity: Option<Activation>,

    /// The reset gate of a GRU acts before the recurrent product (reset_after=False of Keras, linear_before_reset=0 of
    /// ONNX), which weights do not record, but the model's file may; not for other models
    #[arg(long)]
    reset_before: bool,

    /// Batched input and output are [B, T, ·], which weights do not record, but the model's file may; states keep their
    /// shape
    #[arg(long)]
    batch_first: bool,
}

/// Prints a line. A closed pipe is no reason to fail.
macro_rules! say {
    ($($arguments:tt)*) => {{
        let _ = writeln!(std::io::stdout(), $($arguments)*);
    }};
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Activation {
    Tanh,
    Relu,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = arguments.place.check() {
        eprintln!("error: {error}");
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
    let file = TensorFile::open(&arguments.model)?;
    let prefix = find_prefix(arguments, &file)?;
    let layer = AnyLayer::from_tensor_file(&file, &prefix).with_context(|| arguments.model.display().to_string())?;
    // Without the flag, the layout recorded in the file applies, or time-major.
    let layer = if arguments.batch_first { layer.with_batch_first(true) } else { layer };
    match layer {
        AnyLayer::Lstm(_) | AnyLayer::Gru(_) if arguments.nonlinearity.is_some() => {
            bail!("--nonlinearity is for an RNN, and the model is none")
        }
        AnyLayer::Lstm(_) | AnyLayer::Rnn(_) if arguments.reset_before => {
            bail!("--reset-before is for a GRU, and the model is none")
        }
        AnyLayer::Lstm(layer) => run_layer(arguments, &prefix, layer),
        AnyLayer::Gru(layer) => {
            // Without the flag, the form recorded in the file applies, or PyTorch's.
            let layer = if arguments.reset_before { layer.with_reset_after(false) } else { layer };
            run_layer(arguments, &prefix, layer)
        }
        AnyLayer::Rnn(layer) => {
            let layer = match arguments.nonlinearity {
                None => layer,
                Some(Activation::Tanh) => layer.with_nonlinearity(Nonlinearity::Tanh),
                Some(Activation::Relu) => layer.with_nonlinearity(Nonlinearity::Relu),
            };
            run_layer(arguments, &prefix, layer)
        }
        layer => bail!("{}: {layer} is a kind that this example does not know", arguments.model.display()),
    }
}

fn run_layer<K: Kind>(arguments: &Arguments, prefix: &str, layer: Layer<K>) -> Result<()> {
    let weights =
        layer.layers().iter().flat_map(|w| [Some(w.weight_ih()), Some(w.weight_hh()), w.bias_ih(), w.bias_hh()]);
    let parameters: usize = weights.flatten().map(|tensor| tensor.data().len()).sum();
    say!("model   {} under prefix {prefix:?}, {parameters} parameters", layer.config());
    let Input { input, state, lengths } = load_input::<K>(&arguments.input)?;

    let device = arguments.place.open()?;
    say!("device  {device}: {}", device.reason());
    let placed = layer.to(&device).context("placing the model")?;
    let start = Instant::now();
    let mut request = placed.request(&input).state(state.as_ref());
    if let Some(lengths) = &lengths {
        request = request.lengths(lengths);
    }
    let (output, last) = request.run()?;
    let elapsed = start.elapsed();
    let last = K::arrays(&last);
    say!("output  {:?}, each state {:?}", output.shape(), last[0].shape());
    let first = if device.is_gpu() { ", including shader compilation" } else { "" };
    say!("time    {:.3} ms{first}", elapsed.as_secs_f64() * 1e3);

    let mut results = vec![("output", &output)];
    results.extend(["h_n", "c_n"].into_iter().zip(last));
    TensorFile::save(&arguments.output, &results).context("writing the output")?;
    say!("wrote   {}", arguments.output.display());
    Ok(())
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn find_prefix(arguments: &Arguments, file: &TensorFile) -> Result<String> {
    let found = file.recurrent_prefixes();
    Ok(match (&arguments.prefix, found.as_slice()) {
        // "encoder" means "encoder." if the file has only the latter.
        (Some(prefix), _) if !found.contains(prefix) && found.contains(&format!("{prefix}.")) => format!("{prefix}."),
        (Some(prefix), _) => prefix.clone(),
        (None, [only]) => only.clone(),
        (None, []) => String::new(),
        (None, several) => {
            bail!("{}: has several models, name one with --prefix: {several:?}", arguments.model.display())
        }
    })
}

/// The contents of the input file.
struct Input<K: Kind> {
    input: Tensor,
    state: Option<K::State<f32>>,
    lengths: Option<Vec<usize>>,
}

fn load_input<K: Kind>(path: &Path) -> Result<Input<K>> {
    let file = TensorFile::open(path)?;
    let tensor = |name| file.tensor(name).with_context(|| path.display().to_string());
    let Some(input) = tensor("input")? else {
        bail!("{}: has no tensor \"input\", only {:?}", path.display(), file.names().collect::<Vec<_>>());
    };
    let (wanted, unwanted) = ["h_0", "c_0"].split_at(K::STATES);
    if let Some(name) = unwanted.iter().find(|name| file.shape(name).is_some()) {
        bail!("{}: has {name}, but the model is no LSTM and has no cell state", path.display());
    }
    let mut arrays = Vec::new();
    for name in wanted {
        arrays.extend(tensor(name)?);
    }
    let state = match arrays.len() {
        0 => None,
        n if n == wanted.len() => Some(K::state(arrays)?),
        _ => bail!("{}: has only one of h_0 and c_0; an LSTM takes both or neither", path.display()),
    };
    let with = if state.is_some() { format!(", with {}", wanted.join(" and ")) } else { String::new() };
    if let Some(shape) = file.shape("lengths").filter(|shape| shape.len() != 1) {
        bail!("{}: lengths has shape {shape:?}, expected [B]", path.display());
    }
    let lengths = match file.integers("lengths").with_context(|| path.display().to_string())? {
        None => None,
        Some(all) => Some(
            all.into_iter()
                .map(|length| {
                    usize::try_from(length).map_err(|_| anyhow!("{}: a length is {length}, below 0", path.display()))
                })
                .collect::<Result<Vec<_>>>()?,
        ),
    };
    let rows = if lengths.is_some() { ", with lengths" } else { "" };
    say!("input   {:?}{with}{rows}", input.shape());
    Ok(Input { input, state, lengths })
}
