//! One time step of one direction: the recurrent product and the cell. The GPU twins are in shaders/step/.

use std::ops::Range;

use crate::cell_kind::MAX_GATES;
use crate::config::RecurrentConfig;
use crate::cpu::reference::cell::general::General;
use crate::cpu::reference::cell::{State, Stepped, cell, reset};
use crate::error::Result;
use crate::memory::{copied, zeroed};
use crate::real::Real;
use crate::weights::LayerWeights;

/// The weights of one layer and direction as the CPU reads them.
#[derive(Clone, Debug)]
pub(crate) struct DirectionWeights<F> {
    /// `[G·H, I]`.
    pub(crate) weight_ih: Vec<F>,
    /// `[G·H]`, zeros without a bias.
    pub(crate) bias_ih: Vec<F>,
    /// `[H, G·H]`: transposed, so that the sum over k walks whole rows and vectorizes in its natural order.
    weight_hh_t: Vec<F>,
    /// `[G·H]`, zeros without a bias.
    bias_hh: Vec<F>,
    /// `[H, P]`: the projection of h, also transposed.
    weight_hr_t: Option<Vec<F>>,
    /// What the cell computes, if not what PyTorch's does.
    general: Option<General<F>>,
}

impl<F: Real> DirectionWeights<F> {
    pub(crate) fn pack(config: &RecurrentConfig, direction: usize, weights: &LayerWeights<F>) -> Result<Self> {
        let rows = config.gate_rows();
        let bias = |bias: Option<&crate::tensor::Tensor<F>>| match bias {
            Some(tensor) => copied("bias", tensor.data()),
            None => zeroed("bias", &[rows]),
        };
        Ok(Self {
            weight_ih: copied("weight_ih", weights.weight_ih().data())?,
            bias_ih: bias(weights.bias_ih())?,
            weight_hh_t: transposed(weights.weight_hh())?,
            bias_hh: bias(weights.bias_hh())?,
            weight_hr_t: weights.weight_hr().map(transposed).transpose()?,
            general: match config.form.is_plain() {
                true => None,
                false => Some(General::new(config, direction, weights.peephole())?),
            },
        })
    }
}

/// Returns a matrix with rows and columns exchanged.
fn transposed<F: Real>(matrix: &crate::tensor::Tensor<F>) -> Result<Vec<F>> {
    let &[rows, columns] = matrix.shape() else { return Ok(Vec::new()) };
    let mut transposed = zeroed("transposed weights", &[columns, rows])?;
    for (row, from) in matrix.data().chunks_exact(columns.max(1)).enumerate() {
        for (k, &w) in from.iter().enumerate() {
            transposed[k * rows + row] = w;
        }
    }
    Ok(transposed)
}

/// Adds a product: `sum += Σ_k x[k]·matrix[k][columns]`, in the order of k; the matrix has one row per element of x.
pub(super) fn add_product<F: Real>(sum: &mut [F], x: &[F], matrix: &[F], columns: Range<usize>) {
    let row_size = (matrix.len() / x.len().max(1)).max(1);
    for (&x, row) in x.iter().zip(matrix.chunks_exact(row_size)) {
        for (sum, &w) in sum.iter_mut().zip(&row[columns.clone()]) {
            *sum = *sum + x * w;
        }
    }
}

/// The scratch arrays of a step, allocated once for a whole sequence.
pub(crate) struct Scratch<F> {
    /// `[G·H]` of the current row.
    gh: Vec<F>,
    /// `[H]` of the current row: h before its projection.
    raw: Vec<F>,
}

impl<F: Real> Scratch<F> {
    pub(crate) fn new(config: &RecurrentConfig) -> Result<Self> {
        Ok(Self { gh: zeroed("gh", &[config.gate_rows()])?, raw: zeroed("h", &[config.hidden_size])? })
    }
}

/// Runs the products of a step with their part of the cell and, with a projection, `h = W_hr·h`, for every batch row.
/// `gx` is `[B, G·H]`; `states` are h `[state_rows, P]` and c `[state_rows, H]`, updated in place; `state_row` maps a
/// batch row to the row of the states that it advances, or to `None` if it has ended; `save` gets the values of a row
/// and unit that the backward needs.
pub(crate) fn step<F: Real>(
    config: &RecurrentConfig,
    weights: &DirectionWeights<F>,
    gx: &[F],
    states: &mut [&mut [F]],
    scratch: &mut Scratch<F>,
    state_row: impl Fn(usize) -> Option<usize>,
    mut save: impl FnMut(usize, usize, &[F]),
) {
    let (rows, hidden, width) = (config.gate_rows(), config.hidden_size, config.recurrent_size());
    for (b, gx) in gx.chunks_exact(rows).enumerate() {
        let Some(row) = state_row(b) else { continue };
        let Scratch { gh, raw } = scratch;
        let (h, carried) = states.split_first_mut().map_or((&mut [][..], &mut [][..]), |(h, rest)| (&mut **h, rest));
        let h = &mut h[row * width..(row + 1) * width];
        gh.copy_from_slice(&weights.bias_hh);
        let gates = |from: &[F], u: usize| {
            std::array::from_fn::<F, MAX_GATES, _>(|g| {
                if g < config.cell.gates() { from[g * hidden + u] } else { F::zero() }
            })
        };
        for (product, of_product) in config.cell.products().iter().enumerate() {
            if product > 0 {
                // The operand is h gated by the result of the first product.
                for (u, raw) in raw.iter_mut().enumerate() {
                    *raw = match &weights.general {
                        None => reset(gates(gx, u), gates(gh, u), h[u]),
                        Some(general) => general.reset(gates(gx, u), gates(gh, u), h[u]),
                    };
                }
            }
            let operand = if product == 0 { &*h } else { &**raw };
            let columns = of_product.start * hidden..of_product.end * hidden;
            add_product(&mut gh[columns.clone()], operand, &weights.weight_hh_t, columns);
        }
        for (u, raw) in raw.iter_mut().enumerate() {
            let at = row * hidden + u;
            // A projected h does not have one element per unit, and its cell, the LSTM, does not read h.
            let own_h = if config.is_projected() { F::zero() } else { h[u] };
            let old = State { h: own_h, c: carried.first().map_or(F::zero(), |c| c[at]) };
            let new = match &weights.general {
                None => {
                    let Stepped { state, saved } = cell(config.cell, gates(gx, u), gates(gh, u), old);
                    save(b, u, &saved[..config.cell.saved()]);
                    state
                }
                Some(general) => general.cell(config.cell, u, gates(gx, u), gates(gh, u), old),
            };
            *raw = new.h;
            if let Some(c) = carried.first_mut() {
                c[at] = new.c;
            }
        }
        match &weights.weight_hr_t {
            None => h.copy_from_slice(raw),
            Some(weight_hr_t) => {
                h.fill(F::zero());
                add_product(h, raw, weight_hr_t, 0..width);
            }
        }
    }
}
