//! What `infer` and `gradients` have in common: a layer from one file, its input from a second, results to a third.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Error, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use wgpu_rnn::{
    AnyLayer, Imported, Kind, Layer, LayerKind, Nonlinearity, Placed, Source, SourceLayer, Tensor, TensorFile,
};

use crate::input::{Input, InputFile};
use crate::place::Place;

/// Options that a list has no use for.
const OF_A_RUN: [&str; 8] =
    ["input", "output", "layer", "prefix", "rename", "nonlinearity", "reset_before", "batch_first"];

#[derive(Args)]
pub struct Files {
    /// The model: tensors by PyTorch's names (safetensors; .pt, .pth or .ckpt of PyTorch; .npz), an ONNX model, or a
    /// file of Keras (.h5, .weights.h5, .keras); the content tells which
    #[arg(long, value_name = "FILE")]
    model: PathBuf,

    /// Print one line for each recurrent layer of the model, its name first, and do nothing else
    #[arg(long, conflicts_with_all = OF_A_RUN)]
    list: bool,

    /// The layer of an ONNX model or of a file of Keras, by its name [default: the only one]
    #[arg(long, value_name = "NAME", conflicts_with = "prefix")]
    layer: Option<String>,

    /// The prefix of the names of tensors, such as "encoder." [default: the only one in the file]
    #[arg(long, value_name = "STR")]
    prefix: Option<String>,

    /// Reads the tensor FROM under the name TO, such as w_ih=weight_ih_l0; may be repeated
    #[arg(long, value_name = "FROM=TO", value_parser = renaming)]
    rename: Vec<(String, String)>,

    /// The kind of the layer, which a file of Keras may not tell if it has weights alone
    #[arg(long, value_enum)]
    kind: Option<KindName>,

    /// The file of the input (safetensors, .npz or .pt); --help tells what it holds
    #[arg(long, value_name = "FILE", required_unless_present = "list")]
    input: Option<PathBuf>,

    /// The file to write the results to, as safetensors
    #[arg(long, value_name = "FILE", required_unless_present = "list")]
    output: Option<PathBuf>,

    #[command(flatten)]
    place: Place,

    /// The nonlinearity of an RNN, if the model's file has weights alone, which do not tell it [default: as recorded
    /// beside them, or tanh]
    #[arg(long, value_enum)]
    nonlinearity: Option<Activation>,

    /// The reset gate of a GRU acts before the recurrent product (reset_after=False of Keras, linear_before_reset=0 of
    /// ONNX), if the model's file has weights alone, which do not tell it, and does not record it beside them
    #[arg(long)]
    reset_before: bool,

    /// Batched input and output are [B, T, ·] instead of [T, B, ·], whatever the layout of the model; states keep their
    /// shape. Not needed where the metadata of a safetensors file records batch_first
    #[arg(long)]
    batch_first: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum KindName {
    Lstm,
    Gru,
    Rnn,
}

impl KindName {
    fn kind(self) -> LayerKind {
        match self {
            Self::Lstm => LayerKind::Lstm,
            Self::Gru => LayerKind::Gru,
            Self::Rnn => LayerKind::Rnn,
        }
    }
}

/// Parses FROM=TO.
fn renaming(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('=') {
        Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok((from.to_owned(), to.to_owned())),
        _ => Err("expected FROM=TO".to_owned()),
    }
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Activation {
    Tanh,
    Relu,
}

/// The tensors to be written, by name.
pub type Results = Vec<(String, Tensor)>;

/// The work between reading the files and writing the results, for a layer of any kind.
pub trait Work {
    /// Returns the names of the tensors that it reads of the input file, beyond those of a forward.
    fn inputs(&self) -> &'static [&'static str] {
        &[]
    }

    fn run<K: Kind>(
        self,
        layer: &Placed<K>,
        input: &Input<K>,
        file: &InputFile<'_>,
        imported: &Imported,
    ) -> Result<Results>;
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
        if self.list {
            return self.print_layers();
        }
        let (input, output) = self.input.as_deref().zip(self.output.as_deref()).context("there is no --input")?;
        for (name, other) in [("--model", self.model.as_path()), ("--input", input)] {
            if same_file(output, other) {
                bail!("--output and {name} are the same file");
            }
        }
        let (imported, name) = self.load()?;
        match imported.layer().clone() {
            AnyLayer::Lstm(_) | AnyLayer::Gru(_) if self.nonlinearity.is_some() => {
                bail!("--nonlinearity is for an RNN, and the model is none")
            }
            AnyLayer::Lstm(_) | AnyLayer::Rnn(_) if self.reset_before => {
                bail!("--reset-before is for a GRU, and the model is none")
            }
            AnyLayer::Lstm(layer) => self.run_layer(work, &imported, &name, &layer, input, output),
            AnyLayer::Gru(layer) => {
                // Without the flag, the form recorded in the file applies, or PyTorch's.
                let layer = if self.reset_before { layer.with_reset_after(false) } else { layer };
                self.run_layer(work, &imported, &name, &layer, input, output)
            }
            AnyLayer::Rnn(layer) => {
                let layer = match self.nonlinearity {
                    None => layer,
                    Some(Activation::Tanh) => layer.with_nonlinearity(Nonlinearity::Tanh),
                    Some(Activation::Relu) => layer.with_nonlinearity(Nonlinearity::Relu),
                };
                self.run_layer(work, &imported, &name, &layer, input, output)
            }
            layer => bail!("{}: {layer} is a kind that this example does not know", self.model.display()),
        }
    }

    fn run_layer<K: Kind>(
        &self,
        work: impl Work,
        imported: &Imported,
        name: &str,
        layer: &Layer<K>,
        input: &Path,
        output: &Path,
    ) -> Result<()> {
        let parameters: usize = layer.named().map(|(_, tensor)| tensor.data().len()).sum();
        say!("model   {}{name}, {parameters} parameters", layer.config());
        let file = InputFile::open(input)?;
        file.note_others(&[&["input", "h_0", "c_0", "lengths"], work.inputs()].concat());
        let input = file.input::<K>(imported)?;

        let device = self.place.open()?;
        say!("device  {device}: {}", device.reason());
        let placed = layer.to(&device).context("placing the model")?;
        let results = work.run(&placed, &input, &file, imported)?;
        let results: Vec<_> = results.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        TensorFile::save(output, &results).context("writing the output")?;
        say!("wrote   {}", output.display());
        Ok(())
    }

    /// Opens the model.
    fn open(&self) -> Result<Source> {
        let source = Source::open(&self.model)?;
        Ok(match self.kind {
            Some(kind) => source.with_kind(kind.kind()),
            None => source,
        })
    }

    fn print_layers(&self) -> Result<()> {
        let source = self.open()?;
        let found = source.layers();
        found.iter().for_each(|layer| say!("{layer}"));
        match found.is_empty() {
            true => Err(self.no_layer(&source)),
            false => Ok(()),
        }
    }

    /// Returns the error of a model without a recurrent layer.
    fn no_layer(&self, source: &Source) -> Error {
        /// How many names are enough to see what the tensors are.
        const SHOWN: usize = 8;
        let of_model = self.model.display();
        let prefixes = source.tensors().map(TensorFile::recurrent_prefixes).unwrap_or_default();
        let Err(error) = source.layer(prefixes.first().map_or("", String::as_str)) else {
            return anyhow!("{of_model}: has no recurrent layer");
        };
        let names: Vec<_> = source.tensors().into_iter().flat_map(TensorFile::names).collect();
        let advice = match names.as_slice() {
            [] => String::new(),
            names => {
                let more = if names.len() > SHOWN { ", ..." } else { "" };
                let names = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
                format!("; its tensors are {names}{more}; --rename FROM=TO gives them PyTorch's names")
            }
        };
        match error {
            wgpu_rnn::Error::NoModel { ref others, .. } if others.is_empty() => anyhow!("{of_model}: {error}{advice}"),
            error => anyhow!("{of_model}: {error}"),
        }
    }

    /// Loads the layer, and returns words for where it was found.
    fn load(&self) -> Result<(Imported, String)> {
        let of_model = || self.model.display().to_string();
        let source = self.open()?;
        if source.tensors().is_some() {
            if let Some(layer) = &self.layer {
                bail!("--layer {layer} is for ONNX and Keras; {} has tensors, name their --prefix", of_model());
            }
            if self.rename.is_empty() && self.prefix.is_none() && source.layers().is_empty() {
                return Err(self.no_layer(&source));
            }
            let format = source.format();
            let file = source.into_tensors().with_context(of_model)?;
            let file = file.renamed(&self.rename).context("--rename")?;
            let prefix = self.find_prefix(&file)?;
            let layer = AnyLayer::from_tensor_file(&file, &prefix).with_context(of_model)?;
            if !self.rename.is_empty() {
                let used = parameters(&layer);
                let is_used =
                    |name: &str| name.strip_prefix(&*prefix).is_some_and(|name| used.iter().any(|u| u == name));
                let unused: Vec<_> = file.names().filter(|name| !is_used(name)).collect();
                if !unused.is_empty() {
                    say!("note    not part of the layer: {}", unused.join(", "));
                }
            }
            if let Some(kind) = self.kind.map(KindName::kind).filter(|&kind| kind != layer.kind()) {
                bail!("--kind says {kind}, and {} has {layer}", of_model());
            }
            // What somebody has recorded beside weights applies; the layout of a module is that of its own program.
            let recorded = format == "safetensors" && layer.batch_first();
            let batch_first = self.batch_first || recorded;
            Self::note_layout(layer.batch_first(), batch_first);
            let layer = layer.with_batch_first(batch_first);
            return Ok((Imported::from(layer), format!(" under prefix {prefix:?}")));
        }
        for (flag, is_set) in [("--prefix", self.prefix.is_some()), ("--rename", !self.rename.is_empty())] {
            if is_set {
                bail!("{flag} is for tensors; {} has layers, name one with --layer", of_model());
            }
        }
        let layers = source.layers();
        let name = match (&self.layer, layers.as_slice()) {
            (Some(name), _) => name.clone(),
            (None, [only]) => only.name.clone(),
            (None, several) => {
                let names: Vec<_> = several.iter().map(|layer| &layer.name).collect();
                bail!("{}: has several layers, name one with --layer: {names:?}", of_model());
            }
        };
        if let Some(layer) = layers.iter().find(|layer| layer.name == name) {
            self.check_options(layer)?;
        }
        let imported = source.layer(&name).with_context(of_model)?;
        for note in layers.iter().filter(|layer| layer.name == name).flat_map(|layer| &layer.notes) {
            say!("note    {note}");
        }
        Self::note_layout(imported.layer().batch_first(), self.batch_first);
        Ok((imported.with_batch_first(self.batch_first), format!(", layer {name:?}")))
    }

    /// Tells of a layout that is not the model's own.
    fn note_layout(own: bool, batch_first: bool) {
        if own && !batch_first {
            say!("note    the layout of the model is [B, T, ·]; without --batch-first, it is [T, B, ·] here");
        }
    }

    /// Checks options against what the file says of a layer.
    fn check_options(&self, layer: &SourceLayer) -> Result<()> {
        let of_model = self.model.display();
        for (flag, is_set) in [("--nonlinearity", self.nonlinearity.is_some()), ("--reset-before", self.reset_before)] {
            if is_set && !layer.weights_only {
                bail!("{flag} is for weights alone, which do not tell it; {of_model} does");
            }
        }
        match (layer.kind, self.kind.map(KindName::kind)) {
            (None, None) if layer.weights_only => {
                bail!("{of_model}: does not tell the kind of layer {:?}; name it with --kind", layer.name)
            }
            (Some(own), Some(kind)) if own != kind => bail!("--kind says {kind}, and {of_model} has {own}"),
            _ => Ok(()),
        }
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

/// Returns the names of a layer's parameters.
fn parameters(layer: &AnyLayer) -> Vec<String> {
    fn of<K: Kind>(layer: &Layer<K>) -> Vec<String> {
        layer.named().map(|(name, _)| name).collect()
    }
    match layer {
        AnyLayer::Lstm(layer) => of(layer),
        AnyLayer::Gru(layer) => of(layer),
        AnyLayer::Rnn(layer) => of(layer),
        _ => Vec::new(),
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
