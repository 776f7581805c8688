//! The text: its characters as symbols, its three parts, and what each step of a training reads.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rand::RngExt;

use crate::random::{Use, generator};

/// A text whose characters are numbered in the order of their code points: its symbols.
pub struct Text {
    alphabet: Vec<char>,
    symbols: Vec<u8>,
    /// The ends of the training and the validation text.
    ends: [usize; 2],
}

impl Text {
    /// Reads a text, of which the last tenth is held out: one half for validation, the other for the final test.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::new(&text).with_context(|| path.display().to_string())
    }

    /// Divides a text like [`read`](Self::read).
    pub fn new(text: &str) -> Result<Self> {
        let alphabet: Vec<char> = text.chars().collect::<BTreeSet<char>>().into_iter().collect();
        ensure!(alphabet.len() <= 256, "the text has {} different characters, more than 256", alphabet.len());
        let symbol = |character| alphabet.binary_search(&character).map_or(0, |at| at as u8);
        let symbols: Vec<u8> = text.chars().map(symbol).collect();
        let twentieth = symbols.len() / 20;
        ensure!(twentieth > 0, "the text has {} characters, fewer than 20", symbols.len());
        let ends = [symbols.len() - 2 * twentieth, symbols.len() - twentieth];
        Ok(Self { alphabet, symbols, ends })
    }

    /// Returns the characters by their symbols.
    pub fn alphabet(&self) -> &[char] {
        &self.alphabet
    }

    /// Returns the text to learn from.
    pub fn training(&self) -> &[u8] {
        &self.symbols[..self.ends[0]]
    }

    /// Returns the text that decides which weights are kept, and when to stop. Its first symbol is the last one of the
    /// training text, from which the second is predicted.
    pub fn validation(&self) -> &[u8] {
        &self.symbols[self.ends[0] - 1..self.ends[1]]
    }

    /// Returns the text that decides nothing, after one symbol to begin with.
    pub fn test(&self) -> &[u8] {
        &self.symbols[self.ends[1] - 1..]
    }

    /// Returns the symbol after which a sample begins: the end of a line, or the first of the alphabet if the text has
    /// one line only.
    pub fn newline(&self) -> u8 {
        self.alphabet.binary_search(&'\n').map_or(0, |at| at as u8)
    }

    /// Returns a number that tells texts apart, by FNV-1a: a checkpoint is of one text.
    pub fn fingerprint(&self) -> u64 {
        let bytes = |symbol: &u8| u32::from(self.alphabet[usize::from(*symbol)]).to_le_bytes();
        let add = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        self.symbols.iter().flat_map(bytes).fold(0xcbf2_9ce4_8422_2325, add)
    }

    /// Returns the characters of symbols.
    pub fn decode(&self, symbols: &[u8]) -> String {
        symbols.iter().map(|&symbol| self.alphabet[usize::from(symbol)]).collect()
    }
}

/// What each step reads. The rows of a batch begin at equal distances in the training text, which is a circle, and each
/// step continues where the one before ended, until the rows have read all of it: an epoch. The next epoch begins
/// somewhere else, so that its windows are cut in other places.
///
/// All of this follows from the seed and the number of the step, so a checkpoint does not have to record it.
#[derive(Clone, Copy)]
pub struct Course {
    length: usize,
    batch: usize,
    window: usize,
    seed: u64,
}

/// The symbols of a step, `[T, B]` each.
pub struct Window {
    pub inputs: Vec<u8>,
    /// The symbols that follow the inputs.
    pub targets: Vec<u8>,
}

impl Course {
    /// Plans the reading of a training text of `length` symbols.
    pub fn new(length: usize, batch: usize, window: usize, seed: u64) -> Result<Self> {
        let course = Self { length, batch, window, seed };
        ensure!(course.epoch() > 0, "{length} characters are too few for {batch} rows of {window}");
        Ok(course)
    }

    /// Returns the steps of an epoch.
    pub fn epoch(&self) -> usize {
        self.length / self.batch / self.window
    }

    /// Returns whether the rows jump to another place before this step, so that their states are of no use to it.
    pub fn jumps(&self, step: usize) -> bool {
        step.is_multiple_of(self.epoch())
    }

    /// Returns where the first row begins an epoch.
    pub fn beginning(&self, epoch: usize) -> usize {
        generator(self.seed, Use::Epoch(epoch)).random_range(0..self.length)
    }

    /// Returns what a step reads.
    pub fn window(&self, training: &[u8], step: usize) -> Window {
        let (epoch, at) = (step / self.epoch(), step % self.epoch());
        let beginning = self.beginning(epoch) + at * self.window;
        let positions = move |shift: usize| {
            (0..self.window)
                .flat_map(move |t| (0..self.batch).map(move |row| (t, row)))
                .map(move |(t, row)| (beginning + row * (self.length / self.batch) + t + shift) % self.length)
        };
        let symbols = |shift| positions(shift).map(|at| training[at]).collect();
        Window { inputs: symbols(0), targets: symbols(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_reads_every_symbol_once() {
        let course = Course::new(60, 3, 5, 7).unwrap();
        let training: Vec<u8> = (0..60).collect();
        for epoch in [0, 1] {
            let steps = epoch * course.epoch()..(epoch + 1) * course.epoch();
            let mut read: Vec<u8> = steps.flat_map(|step| course.window(&training, step).inputs).collect();
            read.sort_unstable();
            assert_eq!(read, training);
        }
    }

    #[test]
    fn a_step_continues_the_rows_of_the_one_before() {
        let course = Course::new(60, 3, 5, 7).unwrap();
        let training: Vec<u8> = (0..60).collect();
        let (first, second) = (course.window(&training, 0), course.window(&training, 1));
        assert_eq!(first.targets[4 * 3..], second.inputs[..3]);
        assert!(!course.jumps(1) && course.jumps(course.epoch()));
    }
}
