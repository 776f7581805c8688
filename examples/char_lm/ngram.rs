//! The baseline: an n-gram model with Witten-Bell smoothing, which counts what followed each context.
//!
//! ```text
//! P(s | c) = (count of s after c  +  different symbols after c · P(s | c without its first symbol))
//!            / (count of c  +  different symbols after c)
//! ```
//!
//! The recursion ends with equal probabilities for all symbols. A context that never occurred has the probabilities of
//! the shorter one.

use std::collections::HashMap;

/// The n of the baseline: of 3 to 7, the best on the validation text of Shakespeare.
pub const N: usize = 5;

/// What followed a context in the training text.
#[derive(Default)]
struct Followers {
    total: u32,
    /// How often each symbol followed, for those that did.
    counts: HashMap<u8, u32>,
}

/// An n-gram model over symbols.
pub struct Ngram {
    alphabet: usize,
    /// By length of the context, from 0 to n - 1.
    followers: Vec<HashMap<Vec<u8>, Followers>>,
}

impl Ngram {
    /// Counts the n-grams of a text, and all shorter ones.
    pub fn fit(n: usize, alphabet: usize, text: &[u8]) -> Self {
        let mut followers: Vec<HashMap<Vec<u8>, Followers>> = (0..n).map(|_| HashMap::new()).collect();
        for (length, followers) in followers.iter_mut().enumerate() {
            for window in text.windows(length + 1) {
                let (symbol, context) = (window[length], &window[..length]);
                if !followers.contains_key(context) {
                    followers.insert(context.to_vec(), Followers::default());
                }
                if let Some(seen) = followers.get_mut(context) {
                    seen.total += 1;
                    *seen.counts.entry(symbol).or_default() += 1;
                }
            }
        }
        Self { alphabet, followers }
    }

    /// Returns the probability of a symbol after the symbols before it.
    pub fn probability(&self, before: &[u8], symbol: u8) -> f64 {
        let mut probability = 1.0 / self.alphabet as f64;
        for (length, followers) in self.followers.iter().enumerate() {
            let context = before.len().checked_sub(length).map(|start| &before[start..]);
            // No longer context occurred either.
            let Some(seen) = context.and_then(|context| followers.get(context)) else { break };
            let (count, different) = (seen.counts.get(&symbol).copied().unwrap_or(0), seen.counts.len() as f64);
            probability = (f64::from(count) + different * probability) / (f64::from(seen.total) + different);
        }
        probability
    }

    /// Returns the mean number of bits that each symbol of a text costs, from its second on.
    pub fn bits(&self, text: &[u8]) -> f64 {
        let longest = self.followers.len() - 1;
        let bits = |at: usize| -self.probability(&text[at.saturating_sub(longest)..at], text[at]).log2();
        (1..text.len()).map(bits).sum::<f64>() / (text.len() - 1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = &[0, 1, 2, 0, 1, 3, 0, 1, 2, 2, 0];

    #[test]
    fn probabilities_sum_to_one() {
        let model = Ngram::fit(3, 5, TEXT);
        for before in [&[][..], &[0], &[0, 1], &[2, 2], &[4], &[4, 1], &[3, 3]] {
            let sum: f64 = (0..5).map(|symbol| model.probability(before, symbol)).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{before:?}: {sum}");
        }
    }

    #[test]
    fn probabilities_are_those_computed_by_hand() {
        let model = Ngram::fit(2, 5, TEXT);
        // Of 11 symbols, 4 are 0 and 3 are 1; four different ones occurred.
        let of_1 = (3.0 + 4.0 / 5.0) / (11.0 + 4.0);
        assert!((model.probability(&[], 1) - of_1).abs() < 1e-12);
        // 0 was followed by 1 three times, and by nothing else.
        assert!((model.probability(&[0], 1) - (3.0 + of_1) / (3.0 + 1.0)).abs() < 1e-12);
        // 4 never occurred, so it says nothing.
        assert!((model.probability(&[4], 1) - of_1).abs() < 1e-12);
    }

    #[test]
    fn a_text_costs_the_logarithm_of_its_probability() {
        let model = Ngram::fit(3, 5, TEXT);
        let text = [0, 1, 4];
        let probability = model.probability(&[0], 1) * model.probability(&[0, 1], 4);
        assert!((model.bits(&text) + probability.log2() / 2.0).abs() < 1e-12);
    }
}
