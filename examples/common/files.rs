//! What `infer` and `gradients` have in common: a layer from one file, its input from a second, results to a third.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use wgpu_rnn::{AnyLayer, Kind, Layer, Nonlinearity, Placed, Tensor, TensorFile};

use crate::place::Place;

#[derive(Args)]
pub struct Files {
    /// The model: weight_ih_l0, weight_hh_l0 and so on, as PyTorch's state_dict names them
    #[arg(long, value_name = "FILE")]
    model: PathBuf,

    /// The prefix of those names, such as "encoder." [default: the only one in the file]
    #[arg(long, value_name = "STR")]
    prefix: Option<String>,

    /// The input and whatever else the file may hold, as described above
    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    /// The file to write the results to
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

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Activation {
    Tanh,
    Relu,
}

/// The contents of the input file.
pub struct Input<K: Kind> {
    pub input: Tensor,
    pub state: Option<K::State<f32>>,
    pub lengths: Option<Vec<usize>>,
}

/// The tensors to be written, by name.
pub type Results = Vec<(String, Tensor)>;

/// The work between reading the files and writing the results, for a layer of any kind.
pub trait Work {
    fn run<K: Kind>(self, layer: &Placed<K>, input: &Input<K>, file: &InputFile<'_>) -> Result<Results>;
}

/// Prints a line. A closed pipe is no reason to fail.
macro_rules! say {
    ($($arguments:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($arguments)*)));
    }};
}
pub(crate) use say;

impl Files {
    /// Does the work and reports errors. Exit status: 0 success, 1 bad file or device, 2 bad arguments.
    pub fn main(&self, work: impl Work) -> ExitCode {
        if let Err(error) = self.place.check() {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
        match self.run(work) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    fn run(&self, work: impl Work) -> Result<()> {
        for (name, other) in [("--model", &self.model), ("--input", &self.input)] {
            if same_file(&self.output, other) {
                bail!("--output and {name} are the same file");
            }
        }
        let file = TensorFile::open(&self.model)?;
        let prefix = self.find_prefix(&file)?;
        let layer = AnyLayer::from_tensor_file(&file, &prefix).with_context(|| self.model.display().to_string())?;
        // Without the flag, the layout recorded in the file applies, or time-major.
        let layer = if self.batch_first { layer.with_batch_first(true) } else { layer };
        match layer {
            AnyLayer::Lstm(_) | AnyLayer::Gru(_) if self.nonlinearity.is_some() => {
                bail!("--nonlinearity is for an RNN, and the model is none")
            }
            AnyLayer::Lstm(_) | AnyLayer::Rnn(_) if self.reset_before => {
                bail!("--reset-before is for a GRU, and the model is none")
            }
            AnyLayer::Lstm(layer) => self.run_layer(work, &prefix, &layer),
            AnyLayer::Gru(layer) => {
                // Without the flag, the form recorded in the file applies, or PyTorch's.
                let layer = if self.reset_before { layer.with_reset_after(false) } else { layer };
                self.run_layer(work, &prefix, &layer)
            }
            AnyLayer::Rnn(layer) => {
                let layer = match self.nonlinearity {
                    None => layer,
                    Some(Activation::Tanh) => layer.with_nonlinearity(Nonlinearity::Tanh),
                    Some(Activation::Relu) => layer.with_nonlinearity(Nonlinearity::Relu),
                };
                self.run_layer(work, &prefix, &layer)
            }
            layer => bail!("{}: {layer} is a kind that this example does not know", self.model.display()),
        }
    }

    fn run_layer<K: Kind>(&self, work: impl Work, prefix: &str, layer: &Layer<K>) -> Result<()> {
        let weights = layer.layers().iter().flat_map(|w| {
            [Some(w.weight_ih()), Some(w.weight_hh()), w.bias_ih(), w.bias_hh(), w.weight_hr()].into_iter().flatten()
        });
        let parameters: usize = weights.map(|tensor| tensor.data().len()).sum();
        say!("model   {} under prefix {prefix:?}, {parameters} parameters", layer.config());
        let file = InputFile { file: TensorFile::open(&self.input)?, path: &self.input };
        let input = file.input::<K>()?;

        let device = self.place.open()?;
        say!("device  {device}: {}", device.reason());
        let placed = layer.to(&device).context("placing the model")?;
        let results = work.run(&placed, &input, &file)?;
        let results: Vec<_> = results.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        TensorFile::save(&self.output, &results).context("writing the output")?;
        say!("wrote   {}", self.output.display());
        Ok(())
    }

    fn find_prefix(&self, file: &TensorFile) -> Result<String> {
        let found = file.recurrent_prefixes();
        Ok(match (&self.prefix, found.as_slice()) {
            // "encoder" means "encoder." if the file has only the latter.
            (Some(prefix), _) if !found.contains(prefix) && found.contains(&format!("{prefix}.")) => {
                format!("{prefix}.")
            }
            (Some(prefix), _) => prefix.clone(),
            (None, [only]) => only.clone(),
            (None, []) => String::new(),
            (None, several) => {
                bail!("{}: has several models, name one with --prefix: {several:?}", self.model.display())
            }
        })
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// The opened input file.
pub struct InputFile<'a> {
    file: TensorFile,
    path: &'a Path,
}

impl InputFile<'_> {
    /// Reads a tensor, if the file has it.
    pub fn tensor(&self, name: &str) -> Result<Option<Tensor>> {
        self.file.tensor(name).with_context(|| self.path.display().to_string())
    }

    /// Reads the arrays of a state, `h` and, for an LSTM, `c`, by these names. Some of them may be missing.
    pub fn state<K: Kind>(&self, names: [&'static str; 2]) -> Result<Vec<(&'static str, Option<Tensor>)>> {
        let (wanted, unwanted) = names.split_at(K::STATES);
        if let Some(name) = unwanted.iter().find(|name| self.file.shape(name).is_some()) {
            bail!("{}: has {name}, but the model is no LSTM and has no cell state", self.path.display());
        }
        wanted.iter().map(|&name| Ok((name, self.tensor(name)?))).collect()
    }

    fn input<K: Kind>(&self) -> Result<Input<K>> {
        let path = self.path.display();
        let Some(input) = self.tensor("input")? else {
            bail!("{path}: has no tensor \"input\", only {:?}", self.file.names().collect::<Vec<_>>());
        };
        let (names, arrays): (Vec<_>, Vec<_>) = self.state::<K>(["h_0", "c_0"])?.into_iter().unzip();
        let arrays: Vec<_> = arrays.into_iter().flatten().collect();
        let state = match arrays.len() {
            0 => None,
            n if n == names.len() => Some(K::state(arrays)?),
            _ => bail!("{path}: has only one of h_0 and c_0; an LSTM takes both or neither"),
        };
        let with = if state.is_some() { format!(", with {}", names.join(" and ")) } else { String::new() };
        if let Some(shape) = self.file.shape("lengths").filter(|shape| shape.len() != 1) {
            bail!("{path}: lengths has shape {shape:?}, expected [B]");
        }
        let lengths = self.file.integers("lengths").with_context(|| path.to_string())?;
        let length = |length| usize::try_from(length).map_err(|_| anyhow!("{path}: a length is {length}, below 0"));
        let lengths: Option<Vec<usize>> =
            lengths.map(|all| all.into_iter().map(length).collect::<Result<_>>()).transpose()?;
        let rows = if lengths.is_some() { ", with lengths" } else { "" };
        say!("input   {:?}{with}{rows}", input.shape());
        Ok(Input { input, state, lengths })
    }
}
