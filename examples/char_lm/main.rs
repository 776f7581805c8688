//! Trains a character model on Shakespeare: an embedding, an LSTM or GRU, and a softmax over the next character, beside
//! an n-gram model of the same text.
//!
//! cargo run --release --example char_lm [-- --kind lstm|gru --hidden 256 --device auto|gpu|cpu --resume …]

mod checkpoint;
mod head;
mod model;
mod ngram;
#[path = "../common/place.rs"]
mod place;
mod plot;
mod random;
mod settings;
mod text;
mod train;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use clap::Parser;
use wgpu_rnn::{Device, GruKind, LstmKind, TensorFile};

use crate::checkpoint::Stateful;
use crate::model::Model;
use crate::ngram::{N, Ngram};
use crate::place::Place;
use crate::random::{Use, generator};
use crate::settings::{Cell, Settings};
use crate::text::Text;
use crate::train::{End, Files, Training};

/// Trains a character model on a text and compares it with an n-gram model.
///
/// Writes char_lm.safetensors (the best weights, by PyTorch's names), char_lm.svg (the losses) and
/// char_lm_checkpoint.safetensors, from which --resume continues after Ctrl-C or a crash.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    settings: Settings,

    /// Continue the training of the checkpoint, with its settings and with the bits of an uninterrupted run
    #[arg(long, conflicts_with = "Settings")]
    resume: bool,

    /// The text, in UTF-8 [default: Shakespeare, from the folder of this example]
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,

    /// The folder for the files, which is created if it is missing
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,

    /// Write the first weights and the beginnings of the epochs, for train.py, and exit
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    export_initial: Option<PathBuf>,

    #[command(flatten)]
    place: Place,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let files = Files {
        best: arguments.out.join("char_lm.safetensors"),
        checkpoint: arguments.out.join("char_lm_checkpoint.safetensors"),
    };
    std::fs::create_dir_all(&arguments.out).with_context(|| arguments.out.display().to_string())?;
    let settings = match arguments.resume {
        true => checkpoint::settings(&files.checkpoint)?,
        false => arguments.settings.clone(),
    };
    match settings.kind {
        Cell::Lstm => run::<LstmKind>(&arguments, settings, &files),
        Cell::Gru => run::<GruKind>(&arguments, settings, &files),
    }
}

fn run<K: Stateful>(arguments: &Arguments, settings: Settings, files: &Files) -> Result<()> {
    let shipped = || Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/char_lm/shakespeare.txt");
    let text = Text::read(&arguments.text.clone().unwrap_or_else(shipped))?;
    let alphabet = text.alphabet().len();
    if let Some(path) = &arguments.export_initial {
        let model = Model::<K>::random(&settings, alphabet, &Device::cpu())?;
        return train::export_initial(&model, &settings, &text, path);
    }
    let device = arguments.place.open()?;
    println!("device    {device}: {}", device.reason());
    let [learned, held_out, tested] = [text.training(), text.validation(), text.test()].map(<[u8]>::len);
    // The first symbol of each part that is held out is the end of the part before.
    let [held_out, tested] = [held_out - 1, tested - 1];
    println!("text      {alphabet} characters; {learned} to learn from, {held_out} and {tested} held out");
    let ngram = Ngram::fit(N, alphabet, text.training());
    let [of_validation, of_test] = [text.validation(), text.test()].map(|text| ngram.bits(text));
    println!("{N}-gram    validation {of_validation:.3}, test {of_test:.3} bits per character");

    if !arguments.resume && files.checkpoint.exists() {
        println!("note      {} will be replaced; --resume would go on from it", files.checkpoint.display());
    }
    let mut training = match arguments.resume {
        true => Training::<K>::load(&files.checkpoint, settings, &text, &device)?,
        false => Training::new(settings, alphabet, &device)?,
    };
    let weights: usize = training.model.tensors()?.iter().map(|(_, tensor)| tensor.data().len()).sum();
    println!("model     {}, {weights} weights with embedding and head", training.model.layer().config());
    let before = training.record.losses.len();
    let (end, time) = training.run(&text, files, &*stop_on_ctrl_c()?)?;
    let steps = training.record.losses.len() - before;
    match end {
        End::AllSteps | End::NoBetter if steps == 0 => println!("training  had ended"),
        End::AllSteps => println!("training  {steps} steps in {time:.1?}"),
        End::NoBetter => println!("training  {steps} steps in {time:.1?}, then no better for a while"),
        End::Interrupted => {
            println!("stopped   wrote {}; --resume goes on from there", files.checkpoint.display());
            return Ok(());
        }
    }

    let file = TensorFile::open(&files.best)?;
    let best = Model::<K>::load(&training.settings, &file, "", &device)?;
    let (step, bits) = training.record.best().context("nothing was measured")?;
    let on_test = best.bits(text.test())?;
    println!("best      step {step}: validation {bits:.3}, test {on_test:.3} bits per character");
    println!("{N}-gram    validation {of_validation:.3}, test {of_test:.3} bits per character");
    let sample = best.sample(text.newline(), 600, &mut generator(training.settings.seed, Use::Sample(0)))?;
    println!("\n{}\n", text.decode(&sample).trim());
    let picture = arguments.out.join("char_lm.svg");
    plot::draw(&picture, &training.record, of_validation)?;
    println!("wrote     {} and {}", files.best.display(), picture.display());
    Ok(())
}

/// Returns a flag that Ctrl-C sets. A second Ctrl-C ends the program at once.
fn stop_on_ctrl_c() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .context("Ctrl-C cannot be caught")?;
    Ok(stop)
}
