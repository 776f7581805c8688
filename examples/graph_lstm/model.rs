//! The model: a K-hop graph convolution, an LSTM cell over its features, a vector that scales the cell state. D roads.
//!
//! ```text
//! Ã      = A + I                              the roads that a road leads to, and itself
//! Ã^k                                         clamped to 1: the roads within k hops
//! FFR                                         the roads that free-flowing traffic reaches in a few minutes
//! g_t    = [(W_gc^k ⊙ Ã^k ⊙ FFR) x_t]         for k = 1..K, [K·D]
//! n      = (Ã^K ⊙ FFR) w_n                    neighbour vector, [D]
//! h, c   = LSTMCell(g_t, (h, n ⊙ c))          h is the prediction of x_{t+1}
//! ```
//!
//! Z. Cui, K. Henrickson, R. Ke, Y. Wang: Traffic Graph Convolutional Recurrent Neural Network, IEEE Transactions on
//! Intelligent Transportation Systems 21, 2019 (arXiv 1802.07007). `reference.py` has the same definitions.

use anyhow::{Context, Result, ensure};
use wgpu_rnn::{ConcatGates, Lstm, LstmCell, LstmCellConfig, Tensor, TensorFile};

pub struct GraphLstm {
    pub roads: usize,
    pub hops: usize,
    /// `[K·D, D]`: W_gc^k ⊙ Ã^k ⊙ FFR, one below the other.
    pub filters: Vec<f32>,
    /// n, `[D]`.
    pub neighbors: Vec<f32>,
    /// K·D features to D units.
    pub cell: LstmCell,
    /// The number of links of the graph.
    pub links: usize,
    /// Ã^K ⊙ FFR, `[D, D]` of 0 and 1.
    pub reach: Vec<f32>,
}

impl GraphLstm {
    pub fn load(file: &TensorFile) -> Result<Self> {
        let tensor = |name: &str| -> Result<Tensor> {
            file.tensor(name)?.with_context(|| format!("the file has no tensor {name}"))
        };
        let (adjacency, ffr) = (tensor("adjacency")?, tensor("free_flow_reachable")?);
        let (weights, neighbor_weights) = (tensor("gc.weight")?, tensor("neighbor.weight")?);
        let &[hops, roads, _] = weights.shape() else { anyhow::bail!("gc.weight must be [K, D, D]") };
        for square in [adjacency.shape(), ffr.shape(), &weights.shape()[1..]] {
            ensure!(square == [roads, roads], "expected [{roads}, {roads}] for {roads} roads, got {square:?}");
        }
        ensure!(neighbor_weights.shape() == [roads], "neighbor.weight must be [{roads}]");

        let within = reachable(adjacency.data(), ffr.data(), roads, hops);
        let filters = weights.data().iter().zip(within.iter().flatten()).map(|(w, reached)| w * reached).collect();
        let reach = within.last().context("the model has no hops")?.clone();
        let row = |row: &[f32]| row.iter().zip(neighbor_weights.data()).map(|(reached, w)| reached * w).sum();
        let neighbors = reach.chunks_exact(roads).map(row).collect();

        // One Linear per gate, over [features, h]. An LSTM of one layer has the weights of a cell.
        let gates = ConcatGates::from_tensor_file(file, "gates.")?;
        let weights = Lstm::from_concat_gates(&[gates])?.layers()[0].clone();
        let cell = LstmCell::new(LstmCellConfig::new(hops * roads, roads), weights)?;
        let links = adjacency.data().iter().filter(|&&link| link > 0.0).count() / 2;
        Ok(Self { roads, hops, filters, neighbors, cell, links, reach })
    }

    /// Returns the mean number of roads that a road reaches, itself included.
    pub fn mean_reach(&self) -> f32 {
        self.reach.iter().sum::<f32>() / self.roads as f32
    }
}

/// Ã^k ⊙ FFR for k = 1..K, each `[D, D]` of 0 and 1.
fn reachable(adjacency: &[f32], ffr: &[f32], roads: usize, hops: usize) -> Vec<Vec<f32>> {
    let steps_to = |i: usize, j: usize| i == j || adjacency[i * roads + j] > 0.0;
    let mut within: Vec<bool> = (0..roads * roads).map(|at| at / roads == at % roads).collect();
    let mut masks = Vec::new();
    for _ in 0..hops {
        let reaches = |at: usize| (0..roads).any(|via| within[at / roads * roads + via] && steps_to(via, at % roads));
        within = (0..roads * roads).map(reaches).collect();
        masks.push(within.iter().zip(ffr).map(|(&within, &ffr)| if within { ffr } else { 0.0 }).collect());
    }
    masks
}
