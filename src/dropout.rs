//! Dropout between layers, which drops the same elements on every device. The equations and the source of the random
//! numbers are in shaders/base/dropout.wgsl, the GPU twin.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::real::Real;

/// The key of the mask of one layer in one call.
pub(crate) type Key = [u32; 2];

/// A probability in the form that both devices compare random bits with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dropout {
    /// The smallest random bits for which an element is kept: p·2^32.
    pub(crate) threshold: u32,
    /// The factor for kept elements: 1/(1-p), or 0 if p is 1.
    pub(crate) scale: f64,
}

impl Dropout {
    /// `p` is in 0..=1.
    pub(crate) fn new(p: f64) -> Self {
        // At p = 1 the threshold would be 2^32, so one value of the bits still passes; the scale of 0 drops it.
        let threshold = (p * (1_u64 << 32) as f64) as u32;
        Self { threshold, scale: if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 } }
    }

    /// Returns the value that a layer reads instead of `value`, element number `element` of the output `[T, B, D·P]`
    /// below it.
    pub(crate) fn apply<F: Real>(self, key: Key, value: F, element: usize) -> F {
        let element = element as u64;
        let [bits, _] = threefry(key, [element as u32, (element >> 32) as u32]);
        if value.to_f64().is_nan() {
            // As in PyTorch, which multiplies by 0, dropping a NaN does not hide it.
            value
        } else if bits >= self.threshold {
            value * F::from_f64(self.scale)
        } else {
            F::zero()
        }
    }
}

/// A sequence of calls in training mode: no two have the same masks, and the same seed gives the same sequence.
#[derive(Debug)]
pub(crate) struct Training {
    pub(crate) seed: u64,
    calls: AtomicU64,
}

impl Training {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, calls: AtomicU64::new(0) }
    }

    /// Returns the number of calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Sets the number of calls so far.
    pub(crate) fn set_calls(&self, calls: u64) {
        self.calls.store(calls, Ordering::Relaxed);
    }

    /// Returns the keys of the next call, one for each of `layers` layers.
    pub(crate) fn next_keys(&self, layers: usize) -> Vec<Key> {
        let halves = |number: u64| [number as u32, (number >> 32) as u32];
        let call = threefry(halves(self.seed), halves(self.calls.fetch_add(1, Ordering::Relaxed)));
        (0..layers as u64).map(|layer| threefry(call, halves(layer))).collect()
    }
}

const EVEN_ROUNDS: [u32; 4] = [13, 15, 26, 6];
const ODD_ROUNDS: [u32; 4] = [17, 29, 16, 24];

/// Returns a block of Threefry-2x32 with 20 rounds.
fn threefry(key: Key, counter: [u32; 2]) -> [u32; 2] {
    let keys = [key[0], key[1], 0x1bd1_1bda ^ key[0] ^ key[1]];
    let [mut a, mut b] = [counter[0].wrapping_add(keys[0]), counter[1].wrapping_add(keys[1])];
    for four in 0..5 {
        for bits in if four % 2 == 0 { EVEN_ROUNDS } else { ODD_ROUNDS } {
            a = a.wrapping_add(b);
            b = b.rotate_left(bits) ^ a;
        }
        a = a.wrapping_add(keys[(four + 1) % 3]);
        b = b.wrapping_add(keys[(four + 2) % 3]).wrapping_add(four as u32 + 1);
    }
    [a, b]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known-answer vectors of the generator's authors (Random123, `kat_vectors`).
    #[test]
    fn threefry_gives_the_known_answers() {
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        for (counter, key, expected) in [
            ([0, 0], [0, 0], [0x6b20_0159, 0x99ba_4efe]),
            ([u32::MAX; 2], [u32::MAX; 2], [0x1cb9_96fc, 0xbb00_2be7]),
            ([pi[0], pi[1]], [pi[2], pi[3]], [0xc492_3a9c, 0x483d_f7a0]),
        ] {
            assert_eq!(threefry(key, counter), expected);
        }
    }

    #[test]
    fn the_ends_of_the_range_keep_all_and_nothing() {
        for element in 0..1000 {
            assert_eq!(Dropout::new(0.0).apply([1, 2], 3.5, element), 3.5);
            assert_eq!(Dropout::new(1.0).apply([1, 2], 3.5, element), 0.0);
        }
    }
}
