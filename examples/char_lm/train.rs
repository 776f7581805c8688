//! The training: steps, measurements on the validation text, early stopping, and where to stop for now.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use wgpu_rnn::{AdamW, Device, Kind, Optimizer, Tensor, TensorFile};

use crate::checkpoint::Stateful;
use crate::model::Model;
use crate::random::{Use, generator};
use crate::settings::Settings;
use crate::text::{Course, Text};

/// A training between two steps: everything that a checkpoint has.
pub struct Training<K: Kind> {
    pub settings: Settings,
    pub model: Model<K>,
    pub optimizer: Optimizer,
    /// The state that the next window continues from.
    pub state: Option<K::State<f32>>,
    pub record: Record,
}

/// What happened so far.
#[derive(Default)]
pub struct Record {
    /// The loss of each step, in bits per character.
    pub losses: Vec<f32>,
    /// The measurements on the validation text: the number of steps before, and the bits per character.
    pub bits: Vec<(usize, f32)>,
}

/// The files that a training writes.
pub struct Files {
    /// The weights that were best on the validation text.
    pub best: PathBuf,
    pub checkpoint: PathBuf,
}

/// Why a training returned.
pub enum End {
    AllSteps,
    NoBetter,
    Interrupted,
}

impl Record {
    /// Returns the best measurement.
    pub fn best(&self) -> Option<(usize, f32)> {
        self.bits.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Returns the number of measurements since the best.
    fn since_best(&self) -> usize {
        let best = self.best();
        self.bits.iter().rev().take_while(|measured| Some(**measured) != best).count()
    }
}

impl<K: Stateful> Training<K> {
    /// Begins a training.
    pub fn new(settings: Settings, alphabet: usize, device: &Device) -> Result<Self> {
        let model = Model::random(&settings, alphabet, device)?;
        Ok(Self { settings, model, optimizer: Optimizer::new(AdamW::new())?, state: None, record: Record::default() })
    }

    /// Trains until the end, or until `stop` is set, and leaves a checkpoint. Returns the time of the steps as well,
    /// without measurements.
    pub fn run(&mut self, text: &Text, files: &Files, stop: &AtomicBool) -> Result<(End, Duration)> {
        let Settings { batch, window, steps, every, patience, seed, .. } = self.settings;
        let course = Course::new(text.training().len(), batch, window, seed)?;
        let bar = ProgressBar::new(steps as u64);
        let style = ProgressStyle::with_template("training  {bar:24} {pos}/{len}, {rate} steps/s, {eta} left, {msg}")?;
        let rate = |state: &ProgressState, text: &mut dyn Write| write!(text, "{:.1}", state.per_sec()).unwrap_or(());
        bar.set_style(style.with_key("rate", rate));
        bar.set_position(self.record.losses.len() as u64);
        bar.reset_eta();
        let mut time = Duration::ZERO;
        let end = loop {
            let step = self.record.losses.len();
            let due = step.is_multiple_of(every) || step == steps;
            if step > 0 && due && self.record.bits.last().is_none_or(|&(last, _)| last < step) {
                self.measure(text, files, &bar)?;
                self.save(&files.checkpoint, text)?;
            }
            if step == steps {
                break End::AllSteps;
            }
            if self.record.since_best() >= patience {
                break End::NoBetter;
            }
            if stop.load(Ordering::Relaxed) {
                self.save(&files.checkpoint, text)?;
                break End::Interrupted;
            }
            let start = Instant::now();
            self.step(text, &course).with_context(|| format!("step {}", step + 1))?;
            time += start.elapsed();
            bar.set_message(format!("{:.2} bits", self.recent_loss()));
            bar.inc(1);
        };
        bar.finish_and_clear();
        Ok((end, time))
    }

    fn step(&mut self, text: &Text, course: &Course) -> Result<()> {
        let step = self.record.losses.len();
        let window = course.window(text.training(), step);
        let state = self.state.take().filter(|_| !course.jumps(step));
        let (loss, gradients, next) = self.model.gradients(&window, self.settings.batch, state.as_ref())?;
        let lr = self.settings.learning_rate(step);
        self.model.step(&mut self.optimizer, lr, self.settings.clip, &gradients)?;
        self.state = Some(next);
        self.record.losses.push((loss / std::f64::consts::LN_2) as f32);
        Ok(())
    }

    /// Measures on the validation text, keeps the weights if they are the best so far, and prints a sample.
    fn measure(&mut self, text: &Text, files: &Files, bar: &ProgressBar) -> Result<()> {
        const CHARACTERS: usize = 160;
        let step = self.record.losses.len();
        let bits = self.model.bits(text.validation())? as f32;
        self.record.bits.push((step, bits));
        let best = self.record.since_best() == 0;
        if best {
            save_model(&self.model, &self.settings, &files.best)?;
        }
        let sample =
            self.model.sample(text.newline(), CHARACTERS, &mut generator(self.settings.seed, Use::Sample(step)))?;
        let sample = text.decode(&sample);
        let (loss, mark) = (self.recent_loss(), if best { ", the best so far" } else { "" });
        bar.suspend(|| {
            println!("step {step:5}: training {loss:.3}, validation {bits:.3} bits per character{mark}");
            sample.trim().lines().for_each(|line| println!("          | {line}"));
        });
        Ok(())
    }

    /// Returns the mean of the last losses.
    fn recent_loss(&self) -> f32 {
        const RECENT: usize = 50;
        let recent = &self.record.losses[self.record.losses.len().saturating_sub(RECENT)..];
        recent.iter().sum::<f32>() / recent.len() as f32
    }
}

/// Writes the weights by PyTorch's names, and the settings as metadata.
pub fn save_model<K: Kind>(model: &Model<K>, settings: &Settings, path: &Path) -> Result<()> {
    let metadata = [("settings".to_owned(), serde_json::to_string(settings)?)].into();
    let tensors = model.tensors()?;
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    Ok(TensorFile::save_with_metadata(path, &tensors, &metadata)?)
}

/// Writes what `train.py` needs for the same training: the first weights, and where the first row begins each epoch.
pub fn export_initial<K: Kind>(model: &Model<K>, settings: &Settings, text: &Text, path: &Path) -> Result<()> {
    let course = Course::new(text.training().len(), settings.batch, settings.window, settings.seed)?;
    let epochs = settings.steps.div_ceil(course.epoch());
    // As f32 they are exact up to 16 million characters.
    let beginnings: Vec<f32> = (0..epochs).map(|epoch| course.beginning(epoch) as f32).collect();
    let beginnings = Tensor::new([epochs], beginnings)?;
    let mut tensors = model.tensors()?;
    tensors.push(("beginnings".to_owned(), beginnings));
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let metadata = [("settings".to_owned(), serde_json::to_string(settings)?)].into();
    TensorFile::save_with_metadata(path, &tensors, &metadata)?;
    println!("wrote     {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use wgpu_rnn::{GruKind, LstmKind};

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        settings: Settings,
    }

    /// Compares the last checkpoints of a run that is interrupted after step 5, within an epoch, and of one that
    /// is not.
    fn resumed_equals_uninterrupted<K: Stateful>(kind: &str) {
        let settings = "char_lm --hidden 9 --layers 2 --dropout 0.4 --batch 2 --window 5 --steps 12 --every 3 --kind";
        let settings = Arguments::parse_from(settings.split(' ').chain([kind])).settings;
        let text = Text::new(&"To be, or not to be, that is the question:\n".repeat(2)).unwrap();
        let course = Course::new(text.training().len(), settings.batch, settings.window, settings.seed).unwrap();
        let (folder, device, go) = (tempfile::tempdir().unwrap(), Device::cpu(), AtomicBool::new(false));
        let files = |name: &str| Files {
            best: folder.path().join(format!("{name}_best")),
            checkpoint: folder.path().join(name),
        };
        let (whole, pieces) = (files("whole"), files("pieces"));

        let begin = || Training::<K>::new(settings.clone(), text.alphabet().len(), &device).unwrap();
        begin().run(&text, &whole, &go).unwrap();

        let mut first = begin();
        for step in 1..6 {
            first.step(&text, &course).unwrap();
            if step % settings.every == 0 {
                first.measure(&text, &pieces, &ProgressBar::hidden()).unwrap();
            }
        }
        first.run(&text, &pieces, &AtomicBool::new(true)).unwrap();
        let read = crate::checkpoint::settings(&pieces.checkpoint).unwrap();
        assert_eq!(read, settings);
        let mut second = Training::<K>::load(&pieces.checkpoint, read, &text, &device).unwrap();
        assert!(second.record.losses.len() == 5 && !course.jumps(5));
        second.run(&text, &pieces, &go).unwrap();

        for [whole, pieces] in [[&whole.checkpoint, &pieces.checkpoint], [&whole.best, &pieces.best]] {
            assert!(std::fs::read(whole).unwrap() == std::fs::read(pieces).unwrap(), "{} differs", pieces.display());
        }
        let other = Text::new(&"To be, or not to be. That is the question:\n".repeat(2)).unwrap();
        assert!(Training::<K>::load(&pieces.checkpoint, settings.clone(), &other, &device).is_err());
    }

    #[test]
    fn a_resumed_lstm_equals_an_uninterrupted_one() {
        resumed_equals_uninterrupted::<LstmKind>("lstm");
    }

    #[test]
    fn a_resumed_gru_equals_an_uninterrupted_one() {
        resumed_equals_uninterrupted::<GruKind>("gru");
    }

    #[test]
    fn patience_counts_measurements_since_the_best() {
        let mut record = Record::default();
        assert_eq!(record.since_best(), 0);
        for (step, bits, expected) in [(1, 3.0, 0), (2, 2.0, 0), (3, 2.5, 1), (4, 2.25, 2), (5, 1.0, 0)] {
            record.bits.push((step, bits));
            assert_eq!(record.since_best(), expected, "after step {step}");
        }
    }
}
