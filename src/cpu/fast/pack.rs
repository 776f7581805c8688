//! The weights in the layout that the vector kernels read: packed once, when a model is placed.

use std::ops::Range;

use crate::error::Result;
use crate::memory::zeroed;
use crate::real::Real;
use crate::tensor::Tensor;

/// A matrix whose rows are G gates of some units, with its bias, in tiles of one vector of units each.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    /// `[tiles, K, G, lanes]`: the weights that a tile multiplies by element k of its input are contiguous.
    weights: Vec<f32>,
    /// `[tiles, G, lanes]`, zeros without a bias.
    bias: Vec<f32>,
    /// K.
    pub(super) columns: usize,
    pub(super) units: usize,
    gates: usize,
    lanes: usize,
}

impl Packed {
    /// Packs a matrix: `weight` is `[G·units, K]`, `bias` is `[G·units]`.
    pub(super) fn new<F: Real>(
        weight: &Tensor<F>,
        bias: Option<&Tensor<F>>,
        gates: usize,
        lanes: usize,
    ) -> Result<Self> {
        Self::of_gates(weight, bias, gates, 0..gates, lanes)
    }

    /// Packs the gates `own` out of `all`: `weight` is `[all·units, K]`, `bias` is `[all·units]`.
    pub(super) fn of_gates<F: Real>(
        weight: &Tensor<F>,
        bias: Option<&Tensor<F>>,
        all: usize,
        own: Range<usize>,
        lanes: usize,
    ) -> Result<Self> {
        let (columns, rows) =
            (weight.shape().last().copied().unwrap_or(0), weight.shape().first().copied().unwrap_or(0));
        let (units, gates) = (rows / all, own.len());
        let tiles = units.div_ceil(lanes);
        let mut weights = zeroed("packed weights", &[tiles, columns, gates, lanes])?;
        let mut packed_bias = zeroed("packed bias", &[tiles, gates, lanes])?;
        let rows = weight.data().chunks_exact(columns.max(1)).enumerate();
        for (row, values) in rows.skip(own.start * units).take(gates * units) {
            let (gate, unit) = (row / units - own.start, row % units);
            let (tile, lane) = (unit / lanes, unit % lanes);
            for (k, value) in values.iter().enumerate() {
                weights[((tile * columns + k) * gates + gate) * lanes + lane] = value.to_f64() as f32;
            }
            if let Some(bias) = bias {
                packed_bias[(tile * gates + gate) * lanes + lane] = bias.data()[row].to_f64() as f32;
            }
        }
        Ok(Self { weights, bias: packed_bias, columns, units, gates, lanes })
    }

    /// Packs the transpose of some gates of a matrix `[·, units]`, of `size` rows each and in the order given, as a
    /// matrix of one gate whose K is the number of these rows.
    pub(super) fn transposed<F: Real>(weight: &Tensor<F>, gates: &[usize], size: usize, lanes: usize) -> Result<Self> {
        let units = weight.shape().last().copied().unwrap_or(0);
        let (columns, tiles) = (gates.len() * size, units.div_ceil(lanes));
        let mut weights = zeroed("packed weights", &[tiles, columns, lanes])?;
        let rows = gates.iter().flat_map(|gate| gate * size..(gate + 1) * size);
        for (k, row) in rows.enumerate() {
            let values = &weight.data()[row * units..(row + 1) * units];
            for (tile, values) in values.chunks(lanes).enumerate() {
                let at = (tile * columns + k) * lanes;
                for (to, value) in weights[at..at + values.len()].iter_mut().zip(values) {
                    *to = value.to_f64() as f32;
                }
            }
        }
        Ok(Self { weights, bias: zeroed("packed bias", &[tiles, lanes])?, columns, units, gates: 1, lanes })
    }

    pub(super) fn tiles(&self) -> usize {
        self.units.div_ceil(self.lanes)
    }

    /// Returns the weights of a tile, `[K, G, lanes]`.
    pub(super) fn weights(&self, tile: usize) -> &[f32] {
        let size = self.columns * self.gates * self.lanes;
        &self.weights[tile * size..(tile + 1) * size]
    }

    /// Returns the bias of a tile, `[G, lanes]`.
    pub(super) fn bias(&self, tile: usize) -> &[f32] {
        let size = self.gates * self.lanes;
        &self.bias[tile * size..(tile + 1) * size]
    }
}
