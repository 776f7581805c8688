//! Weights as the vector kernels read them: packed once, when a model is placed.

use std::ops::Range;

use crate::error::Result;
use crate::memory::zeroed;
use crate::real::Real;
use crate::tensor::Tensor;

/// A matrix whose rows are G gates of some units, with its bias, in tiles of as many units as a vector has lanes.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    /// `[tiles, K, G, lanes]`: what a tile multiplies with element k of its input lies together.
    weights: Vec<f32>,
    /// `[tiles, G, lanes]`, zeros without bias
    bias: Vec<f32>,
    /// K.
    pub(super) columns: usize,
    pub(super) units: usize,
    gates: usize,
    lanes: usize,
}

impl Packed {
    /// `weight` is `[G·units, K]`, `bias` `[G·units]`.
    pub(super) fn new<F: Real>(
        weight: &Tensor<F>,
        bias: Option<&Tensor<F>>,
        gates: usize,
        lanes: usize,
    ) -> Result<Self> {
        Self::of_gates(weight, bias, gates, 0..gates, lanes)
    }

    /// The gates `own` out of `all`: `weight` is `[all·units, K]`, `bias` `[all·units]`.
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

    pub(super) fn tiles(&self) -> usize {
        self.units.div_ceil(self.lanes)
    }

    /// `[K, G, lanes]` of a tile.
    pub(super) fn weights(&self, tile: usize) -> &[f32] {
        let size = self.columns * self.gates * self.lanes;
        &self.weights[tile * size..(tile + 1) * size]
    }

    /// `[G, lanes]` of a tile.
    pub(super) fn bias(&self, tile: usize) -> &[f32] {
        let size = self.gates * self.lanes;
        &self.bias[tile * size..(tile + 1) * size]
    }
}
