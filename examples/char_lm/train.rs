//! The training: steps, measurements on the validation text, early stopping, and where to stop for now.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
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
#[derive(PartialEq)]
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

    /// Trains until the end, or until `stop` is set, and leaves a checkpoint.
    pub fn run(&mut self, text: &Text, files: &Files, stop: &AtomicBool) -> Result<End> {
        let Settings { batch, window, steps, every, patience, seed, .. } = self.settings;
        let course = Course::new(text.training().len(), batch, window, seed)?;
        let bar = ProgressBar::new(steps as u64);
        bar.set_style(ProgressStyle::with_template("training  {bar:24} {pos}/{len}, {per_sec}, {eta} left, {msg}")?);
        bar.set_position(self.record.losses.len() as u64);
        bar.reset_eta();
        let end = loop {
            let step = self.record.losses.len();
            let due = step.is_multiple_of(every) || step == steps;
            if step > 0 && due && self.record.bits.last().is_none_or(|&(last, _)| last < step) {
                self.measure(text, files, &bar)?;
                self.save(&files.checkpoint)?;
            }
            if step == steps {
                break End::AllSteps;
            }
            if self.record.since_best() >= patience {
                break End::NoBetter;
            }
            if stop.load(Ordering::Relaxed) {
                self.save(&files.checkpoint)?;
                break End::Interrupted;
            }
            self.step(text, &course).with_context(|| format!("step {}", step + 1))?;
            bar.set_message(format!("{:.2} bits", self.recent_loss()));
            bar.inc(1);
        };
        bar.finish_and_clear();
        Ok(end)
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
        let sample = self.model.sample(text.newline(), CHARACTERS, &mut generator(self.settings.seed, Use::Sample(step)))?;
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
    Ok(TensorFile::save_with_metadata(path, &model.tensors(), &metadata)?)
}

/// Writes what `train.py` needs for the same training: the first weights, and where the first row begins each epoch.
pub fn export_initial<K: Kind>(model: &Model<K>, settings: &Settings, text: &Text, path: &Path) -> Result<()> {
    let course = Course::new(text.training().len(), settings.batch, settings.window, settings.seed)?;
    let epochs = settings.steps.div_ceil(course.epoch());
    // As f32 they are exact up to 16 million characters.
    let beginnings: Vec<f32> = (0..epochs).map(|epoch| course.beginning(epoch) as f32).collect();
    let beginnings = Tensor::new([epochs], beginnings)?;
    let mut tensors = model.tensors();
    tensors.push(("beginnings".to_owned(), &beginnings));
    let metadata = [("settings".to_owned(), serde_json::to_string(settings)?)].into();
    TensorFile::save_with_metadata(path, &tensors, &metadata)?;
    println!("wrote     {}", path.display());
    Ok(())
}
