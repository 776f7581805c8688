//! The trained network around the LSTM: its inputs, its head, and the closed loop. `train.py` has the same definitions.
//!
//! ```text
//! y[t]      CO2 in ppm of week t
//! line(t)   growth[0] + growth[1]·t, the expected change from t-1 to t
//! z[t]      (y[t] - y[t-1] - line(t)) / std
//! phase(t)  2π·7·t / 365.2425
//! input(t)  z[t-1], sin and cos of phase(t), sin and cos of 2·phase(t)     →   output: z[t]
//! ```

use std::f64::consts::TAU;

use anyhow::{Context, Result, ensure};
use wgpu_rnn::{Device, Lstm, LstmState, PlacedLstm, Tensor, TensorFile};

pub const FEATURES: usize = 5;
/// The first week that can be predicted: the first one preceded by a change.
pub const FIRST_WEEK: usize = 2;

pub struct Forecaster {
    lstm: PlacedLstm,
    head_weight: Tensor,
    head_bias: f32,
    growth: [f64; 2],
    std: f64,
}

/// A forecast whose history has been read.
pub struct Forecast<'a> {
    model: &'a Forecaster,
    state: LstmState,
    /// The next week, its predicted z, and the level of the week before.
    week: usize,
    z: f32,
    level: f64,
}

impl Forecaster {
    pub fn load(file: &TensorFile, device: &Device) -> Result<Self> {
        let tensor = |name: &str| file.tensor(name)?.with_context(|| format!("the model has no tensor {name}"));
        let lstm = Lstm::from_tensor_file(file, "lstm.")?;
        let (head_weight, head_bias): (Tensor, Tensor) = (tensor("head.weight")?, tensor("head.bias")?);
        let (growth, std): (Tensor, Tensor) = (tensor("norm.growth")?, tensor("norm.std")?);
        ensure!(lstm.config().input_size() == FEATURES, "{} was not trained by train.py", lstm.config());
        ensure!(head_weight.data().len() == lstm.config().hidden_size(), "the head does not fit the LSTM");
        let (&[head_bias], &[a, b], &[std]) = (head_bias.data(), growth.data(), std.data()) else {
            anyhow::bail!("head.bias, norm.growth and norm.std must have 1, 2 and 1 elements");
        };
        Ok(Self { lstm: lstm.to(device)?, head_weight, head_bias, growth: [a.into(), b.into()], std: std.into() })
    }

    /// Returns a forecaster with the same normalisation and other weights.
    pub fn with_weights(self, lstm: PlacedLstm, head_weight: Tensor, head_bias: f32) -> Self {
        Self { lstm, head_weight, head_bias, ..self }
    }

    /// Returns the same forecaster on another device.
    pub fn to(self, device: &Device) -> Result<Self> {
        Ok(Self { lstm: self.lstm.to_layer()?.to(device)?, ..self })
    }

    pub fn std(&self) -> f64 {
        self.std
    }

    /// Returns z of a week of a record; 0 for the first, which has no week before it.
    pub fn z(&self, record: &[f64], week: usize) -> f32 {
        match week {
            0 => 0.0,
            _ => ((record[week] - record[week - 1] - self.line(week)) / self.std) as f32,
        }
    }

    pub fn lstm(&self) -> &PlacedLstm {
        &self.lstm
    }

    /// Reads a history of weeks 0, 1, … in one forward.
    pub fn read(&self, history: &[f64]) -> Result<Forecast<'_>> {
        let weeks = history.len();
        ensure!(weeks > FIRST_WEEK, "a history of {weeks} weeks is too short");
        // The last input predicts the first week after the history.
        let inputs: Vec<f32> = (FIRST_WEEK..=weeks).flat_map(|week| self.input(history, week)).collect();
        let x = Tensor::new([weeks - 1, 1, FEATURES], inputs)?;
        let (output, state) = self.lstm.forward(&x, None)?;
        let hidden = self.head_weight.data().len();
        let z = self.head(&output.data()[output.data().len() - hidden..]);
        Ok(Forecast { model: self, state, week: weeks, z, level: history[weeks - 1] })
    }

    /// Returns the input from which the LSTM predicts a week, given the record of the weeks before.
    pub fn input(&self, record: &[f64], week: usize) -> [f32; FEATURES] {
        input(self.z(record, week - 1), week)
    }

    /// Returns the change of CO2, in ppm, from the week before to a week whose z is given.
    pub fn change(&self, z: f32, week: usize) -> f64 {
        f64::from(z) * self.std + self.line(week)
    }

    /// Returns z for an output of the LSTM.
    pub fn head(&self, output: &[f32]) -> f32 {
        output.iter().zip(self.head_weight.data()).map(|(y, w)| y * w).sum::<f32>() + self.head_bias
    }

    fn line(&self, week: usize) -> f64 {
        self.growth[0] + self.growth[1] * week as f64
    }
}

impl Forecast<'_> {
    /// Returns the CO2 of the next week in ppm. The prediction is the input of the following step.
    pub fn next_week(&mut self) -> Result<f64> {
        self.level += self.model.change(self.z, self.week);
        self.week += 1;
        let x = Tensor::new([1, 1, FEATURES], input(self.z, self.week))?;
        let (output, state) = self.model.lstm.forward(&x, Some(&self.state))?;
        self.z = self.model.head(output.data());
        self.state = state;
        Ok(self.level)
    }
}

pub fn input(z_before: f32, week: usize) -> [f32; FEATURES] {
    let phase = TAU * 7.0 * week as f64 / 365.2425;
    let [s1, c1, s2, c2] = [phase.sin(), phase.cos(), (2.0 * phase).sin(), (2.0 * phase).cos()].map(|v| v as f32);
    [z_before, s1, c1, s2, c2]
}
