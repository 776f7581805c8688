//! The weights in the layout that the vector kernels read: packed once, when a model is placed.

use crate::error::Result;
use crate::real::Real;
use crate::tensor::Tensor;
use crate::tensor::zeroed;

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
        let (columns, rows) =
            (weight.shape().last().copied().unwrap_or(0), weight.shape().first().copied().unwrap_or(0));
        let units = rows / gates;
        let tiles = units.div_ceil(lanes);
        let mut weights = zeroed("packed weights", &[tiles, columns, gates, lanes])?;
        let mut packed_bias = zeroed("packed bias", &[tiles, gates, lanes])?;
        for (row, values) in weight.data().chunks_exact(columns.max(1)).enumerate() {
            let (gate, unit) = (row / units, row % units);
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
