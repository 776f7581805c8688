//! The settings that a training follows from. A checkpoint records them, so that a resumed run has the same.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// The settings, with defaults that take a few minutes on two cores.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The recurrent layer
    #[arg(long, value_enum, default_value_t = Cell::Lstm)]
    pub kind: Cell,
    /// The units of each layer
    #[arg(long, default_value_t = 256, value_parser = at_least_1)]
    pub hidden: usize,
    /// The stacked layers
    #[arg(long, default_value_t = 1, value_parser = at_least_1)]
    pub layers: usize,
    /// The numbers that stand for a character at the input
    #[arg(long, default_value_t = 32, value_parser = at_least_1)]
    pub embedding: usize,
    /// The probability with which an output between two layers is dropped
    #[arg(long, default_value_t = 0.0)]
    pub dropout: f64,
    /// The rows that are read at a time
    #[arg(long, default_value_t = 32, value_parser = at_least_1)]
    pub batch: usize,
    /// The characters of each row that a step reads, and the furthest that gradients flow back
    #[arg(long, default_value_t = 64, value_parser = at_least_1)]
    pub window: usize,
    /// The most steps
    #[arg(long, default_value_t = 3000, value_parser = at_least_1)]
    pub steps: usize,
    /// The highest learning rate, reached after the warm-up
    #[arg(long, default_value_t = 4e-3)]
    pub lr: f64,
    /// The largest norm of all gradients together
    #[arg(long, default_value_t = 1.0)]
    pub clip: f64,
    /// The steps between two measurements on the validation text, each followed by a checkpoint
    #[arg(long, default_value_t = 250, value_parser = at_least_1)]
    pub every: usize,
    /// Stop after this many measurements in a row without a new best
    #[arg(long, default_value_t = 4, value_parser = at_least_1)]
    pub patience: usize,
    /// The seed of the first weights and of everything that is drawn later
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// The kinds of recurrent layers to choose from.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cell {
    Lstm,
    Gru,
}

impl Settings {
    /// Returns the learning rate of a step: a linear warm-up, then half a cosine down to a twentieth.
    pub fn learning_rate(&self, step: usize) -> f64 {
        const WARM_UP: f64 = 100.0;
        const LAST: f64 = 0.05;
        let warm_up = ((step + 1) as f64 / WARM_UP).min(1.0);
        let cosine = (1.0 + (std::f64::consts::PI * step as f64 / self.steps as f64).cos()) / 2.0;
        self.lr * warm_up * (LAST + (1.0 - LAST) * cosine)
    }
}

fn at_least_1(argument: &str) -> Result<usize, String> {
    match argument.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}
