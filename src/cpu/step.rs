//! One time step of one direction: the recurrent product and the cell. The GPU twin is shaders/step.wgsl.

use crate::cell::MAX_GATES;
use crate::config::RecurrentConfig;
use crate::cpu::cell::{State, cell};
use crate::tensor::zeroed;
use crate::weights::LayerWeights;
use crate::{Real, Result};

/// The weights of one layer and direction as the CPU reads them.
#[derive(Clone, Debug)]
pub(crate) struct DirectionWeights<F> {
    /// `[G·H, I]`
    pub(crate) weight_ih: Vec<F>,
    /// `[G·H]`, zeros without bias
    pub(crate) bias_ih: Vec<F>,
    /// `[H, G·H]`: transposed, so that the sum over k walks whole rows and vectorises in its natural order
    weight_hh_t: Vec<F>,
    /// `[G·H]`, zeros without bias
    bias_hh: Vec<F>,
}

impl<F: Real> DirectionWeights<F> {
    pub(crate) fn pack(config: &RecurrentConfig, weights: &LayerWeights<F>) -> Result<Self> {
        let (rows, hidden) = (config.gate_rows(), config.hidden_size);
        let mut weight_hh_t = zeroed("weight_hh", &[hidden, rows])?;
        for (row, from) in weights.weight_hh().data().chunks_exact(hidden).enumerate() {
            for (k, &w) in from.iter().enumerate() {
                weight_hh_t[k * rows + row] = w;
            }
        }
        let bias = |bias: Option<&crate::Tensor<F>>| match bias {
            Some(tensor) => Ok(tensor.data().to_vec()),
            None => zeroed("bias", &[rows]),
        };
        Ok(Self {
            weight_ih: weights.weight_ih().data().to_vec(),
            bias_ih: bias(weights.bias_ih())?,
            weight_hh_t,
            bias_hh: bias(weights.bias_hh())?,
        })
    }
}

/// What a step needs beside its arguments; made once for a whole sequence.
pub(crate) struct Scratch<F> {
    /// `[G·H]` of the row at hand
    gh: Vec<F>,
}

impl<F: Real> Scratch<F> {
    pub(crate) fn new(config: &RecurrentConfig) -> Result<Self> {
        Ok(Self { gh: zeroed("gh", &[config.gate_rows()])? })
    }
}

/// `gh = W_hh·h + b_hh`, then the cell, for every batch row; `gx` is `[B, G·H]`, each of `states` is `[B, H]`, h first,
/// updated in place. Rows that are not `active` have ended and stay as they are.
pub(crate) fn step<F: Real>(
    config: &RecurrentConfig,
    weights: &DirectionWeights<F>,
    gx: &[F],
    states: &mut [&mut [F]],
    scratch: &mut Scratch<F>,
    active: impl Fn(usize) -> bool,
) {
    let (rows, hidden) = (config.gate_rows(), config.hidden_size);
    for (b, gx) in gx.chunks_exact(rows).enumerate().filter(|&(b, _)| active(b)) {
        let of_row = b * hidden..(b + 1) * hidden;
        scratch.gh.copy_from_slice(&weights.bias_hh);
        for (&h, w) in states[0][of_row.clone()].iter().zip(weights.weight_hh_t.chunks_exact(rows)) {
            for (sum, &w) in scratch.gh.iter_mut().zip(w) {
                *sum = *sum + h * w;
            }
        }
        for (u, at) in of_row.enumerate() {
            let gates = |from: &[F]| {
                std::array::from_fn::<F, MAX_GATES, _>(|g| {
                    if g < config.cell.gates() { from[g * hidden + u] } else { F::zero() }
                })
            };
            let old = State::load(states, at);
            cell(config.cell, gates(gx), gates(&scratch.gh), old).store(states, at);
        }
    }
}
