//! The weekly CO2 record, and the baselines that a forecast has to beat.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The first week that the model has not seen, where `train.py` splits the record.
#[expect(clippy::inconsistent_digit_grouping, reason = "year, month, day")]
pub const SPLIT: u32 = 1994_01_01;
const WEEKS_PER_YEAR: usize = 52;

/// One value per week, without gaps.
pub struct Series {
    /// Dates as decimal years.
    pub years: Vec<f64>,
    /// CO2 in ppm; missing weeks are interpolated linearly.
    pub ppm: Vec<f64>,
    /// The number of weeks before [`SPLIT`].
    pub split: usize,
}

impl Series {
    pub fn load(path: &Path) -> Result<Self> {
        let mut reader = csv::Reader::from_path(path).with_context(|| path.display().to_string())?;
        let (mut dates, mut known) = (Vec::new(), Vec::new());
        for record in reader.deserialize() {
            let (date, ppm): (u32, Option<f64>) = record?;
            if let Some(ppm) = ppm {
                known.push((dates.len(), ppm));
            }
            dates.push(date);
        }
        let split = dates.iter().position(|&date| date >= SPLIT).context("the record ends before the split")?;
        ensure!(known.first().is_some_and(|&(t, _)| t == 0), "the record starts with a gap");
        ensure!(known.last().is_some_and(|&(t, _)| t + 1 == dates.len()), "the record ends with a gap");
        let mut ppm = vec![known[0].1];
        for pair in known.windows(2) {
            let [(from, a), (to, b)] = [pair[0], pair[1]];
            ppm.extend((from + 1..=to).map(|t| a + (b - a) * (t - from) as f64 / (to - from) as f64));
        }
        Ok(Self { years: dates.into_iter().map(decimal_year).collect(), ppm, split })
    }

    pub fn history(&self) -> &[f64] {
        &self.ppm[..self.split]
    }

    pub fn held_out(&self) -> &[f64] {
        &self.ppm[self.split..]
    }

    /// Repeats the last year that the model has seen.
    pub fn seasonal_naive(&self) -> Vec<f64> {
        let last_year = &self.history()[self.split - WEEKS_PER_YEAR..];
        last_year.iter().copied().cycle().take(self.held_out().len()).collect()
    }

    /// Repeats the last year, and adds the mean rise of the last ten years for each year that passes.
    pub fn seasonal_naive_with_drift(&self) -> Vec<f64> {
        let mean = |end: usize| self.ppm[end - WEEKS_PER_YEAR..end].iter().sum::<f64>() / WEEKS_PER_YEAR as f64;
        let rise = (mean(self.split) - mean(self.split - 10 * WEEKS_PER_YEAR)) / 10.0;
        let naive = self.seasonal_naive().into_iter().enumerate();
        naive.map(|(week, ppm)| ppm + rise * (week / WEEKS_PER_YEAR + 1) as f64).collect()
    }
}

/// Returns a date such as 19940101 as a decimal year, 1994.0.
fn decimal_year(date: u32) -> f64 {
    let (year, month, day) = (date / 10_000, date / 100 % 100, date % 100);
    f64::from(year) + (f64::from(month - 1) * 30.44 + f64::from(day - 1)) / 365.25
}

/// Returns the root of the mean squared difference.
pub fn rmse(a: &[f64], b: &[f64]) -> f64 {
    (a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64).sqrt()
}

pub fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}
