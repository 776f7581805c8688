//! The gradients at every step that the products over all steps read, and the part of them that each thread writes.

use std::ops::Range;

use super::pool::Pool;
use crate::cell_kind::{CellKind, gru_gate};
use crate::config::RecurrentConfig;
use crate::error::Result;
use crate::extents::Extents;
use crate::memory::reserved;

/// The gradients of a direction at every step, in the order of the steps; whoever computes them leaves zeros past the
/// end of a row.
pub(super) struct Deltas {
    /// `[T·B, N·H]`: with respect to gx and gh, for each of the [N gates](gates) of a row.
    pub(super) all: Vec<f32>,
    /// `[T·B, H]`: what was projected, or the operand of the second product.
    pub(super) operand: Vec<f32>,
    /// `[T·B, P]`: with a projection, the gradient with respect to h.
    pub(super) projected: Vec<f32>,
}

/// Some batch rows of [`Deltas`], step by step; nothing of an array that is not needed.
#[derive(Default)]
pub(super) struct Target<'a> {
    pub(super) all: Vec<&'a mut [f32]>,
    pub(super) operand: Vec<&'a mut [f32]>,
    pub(super) projected: Vec<&'a mut [f32]>,
}

/// Returns the number of gates in a row of gradients. gh of a GRU differs from gx in n alone, so its rows are n of gx,
/// r, z, n of gh: the first three are gx, the last three are gh.
pub(super) fn gates(cell: CellKind) -> usize {
    if cell == CellKind::Gru { 4 } else { cell.gates() }
}

/// Returns the place in a row of a gate of gx.
#[inline(always)]
pub(super) fn place_in_gx(cell: CellKind, gate: usize) -> usize {
    if cell == CellKind::Gru { (gate + 1) % 3 } else { gate }
}

/// Returns the place in a row of the first gate of gh; the others follow.
pub(super) fn first_of_gh(cell: CellKind) -> usize {
    if cell == CellKind::Gru { place_in_gx(cell, gru_gate::RESET) } else { 0 }
}

impl Deltas {
    pub(super) fn new(pool: &Pool, config: &RecurrentConfig, extents: &Extents) -> Result<Self> {
        let (rows, width, hidden) = (extents.rows(), config.recurrent_size(), config.hidden_size);
        let projected_rows = if config.is_projected() { rows } else { 0 };
        let operand_rows = if config.cell.products().len() > 1 { rows } else { projected_rows };
        Ok(Self {
            all: pool.take("the gradients of a layer", &[rows, gates(config.cell), hidden])?,
            operand: pool.take("the operand of a step", &[operand_rows, hidden])?,
            projected: pool.take("the gradient of h", &[projected_rows, width])?,
        })
    }

    /// Gives back the arrays.
    pub(super) fn give_back(self, pool: &Pool) {
        pool.give([self.all, self.operand, self.projected]);
    }

    /// Cuts all steps alike into ranges of batch rows, which together are all rows.
    pub(super) fn cut(&mut self, time_steps: usize, ranges: &[Range<usize>]) -> Result<Vec<Target<'_>>> {
        let all = cut(&mut self.all, time_steps, ranges)?;
        let operand = cut(&mut self.operand, time_steps, ranges)?;
        let projected = cut(&mut self.projected, time_steps, ranges)?;
        let target = |((all, operand), projected)| Target { all, operand, projected };
        Ok(all.into_iter().zip(operand).zip(projected).map(target).collect())
    }
}

/// Returns the ranges of rows of every step of an array; nothing if it is empty.
fn cut<'a>(array: &'a mut [f32], time_steps: usize, ranges: &[Range<usize>]) -> Result<Vec<Vec<&'a mut [f32]>>> {
    let size = array.len() / time_steps;
    let width = size / ranges.last().map_or(1, |range| range.end);
    let steps = if size == 0 { 0 } else { time_steps };
    let of_range = |_| reserved("the rows of a thread", &[steps]);
    let mut all = ranges.iter().map(of_range).collect::<Result<Vec<Vec<&mut [f32]>>>>()?;
    for mut step in array.chunks_exact_mut(size.max(1)) {
        for (own, range) in all.iter_mut().zip(ranges) {
            let (rows, rest) = step.split_at_mut(range.len() * width);
            own.push(rows);
            step = rest;
        }
    }
    Ok(all)
}

impl Target<'_> {
    /// Leaves zeros for a row in a step after its end.
    pub(super) fn clear(&mut self, step: usize, row: usize, rows: usize) {
        for steps in [&mut self.all, &mut self.operand, &mut self.projected] {
            if let Some(step) = steps.get_mut(step) {
                let width = step.len() / rows;
                step[row * width..(row + 1) * width].fill(0.0);
            }
        }
    }
}
