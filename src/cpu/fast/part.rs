//! The arrays of one worker: some units of one direction of a layer, padded to whole tiles.

use std::ops::Range;

use super::Pass;
use crate::cell_kind::CellKind;
use crate::error::Result;
use crate::memory::zeroed;

#[derive(Debug)]
pub(super) struct Part {
    pub(super) direction: usize,
    pub(super) tiles: Range<usize>,
    lanes: usize,
    /// `[T, B, width]`: h after each step, at its time. The width is that of `h`.
    pub(super) y: Vec<f32>,
    /// `[B, width]`: units or, with a projection, all of P, padded.
    pub(super) h: Vec<f32>,
    /// `[B, units]`, if the cell has c; for a cell with two products, the data that the second needs in addition to
    /// `raw`.
    pub(super) c: Vec<f32>,
    /// `[T, B, units]` of c, if wanted.
    pub(super) all_c: Option<Vec<f32>>,
    /// `[B, P]`: h of the previous step, from all workers.
    pub(super) all_h: Vec<f32>,
    /// `[steps, B, tiles, G, lanes]`; for a backward, of all steps, and overwritten with what the cell saves.
    pub(super) gx: Vec<f32>,
    /// `[T, B, units]` in the order of the steps: the recurrent part of n that a GRU saves for its backward.
    pub(super) extra: Vec<f32>,
    /// `[steps, B, I]`, only with dropout.
    pub(super) dropped: Vec<f32>,
    /// `[B, units]`: with a projection, h before it; for a cell with two products, the operand of the second.
    pub(super) raw: Vec<f32>,
}

impl Part {
    /// Allocates the arrays for some tiles of a direction and copies the initial states into them: h `[state_rows, P]`,
    /// c `[state_rows, H]`.
    pub(super) fn new(
        pass: &Pass<'_>,
        direction: usize,
        tiles: Range<usize>,
        lanes: usize,
        states: &[&[f32]],
    ) -> Result<Self> {
        let (config, call) = (pass.config, pass.call);
        let (batch, rows) = (call.extents().batch, call.extents().rows());
        let (units, hidden, recurrent) = (tiles.len() * lanes, config.hidden_size, config.recurrent_size());
        let (projected, two_products) = (config.is_projected(), config.cell.products().len() > 1);
        let width = if projected { recurrent.next_multiple_of(lanes) } else { units };
        let chunk_rows = pass.chunk_steps * batch;
        let only = |wanted: bool, rows: usize| if wanted { rows } else { 0 };
        let carried = states.len() > 1;
        let keeps = pass.kept_in.is_some();
        // All that a pass of training reads of these arrays is written first.
        let large = |what: &str, shape: &[usize]| match pass.kept_in {
            Some(pool) => pool.take(what, shape),
            None => zeroed(what, shape),
        };
        let all_c = match carried && (call.task.all_states || keeps) {
            true => Some(large("c of every step", &[rows, units])?),
            false => None,
        };
        let input = config.layer_input_size(pass.layer);
        let mut part = Self {
            direction,
            lanes,
            y: large("the output of a layer", &[rows, width])?,
            h: zeroed("h", &[batch, width])?,
            c: zeroed("c", &[only(carried || two_products, batch), units])?,
            all_c,
            all_h: zeroed("h", &[batch, recurrent])?,
            extra: large("the saved gates", &[only(keeps && config.cell == CellKind::Gru, rows), units])?,
            gx: large("gx", &[if keeps { rows } else { chunk_rows }, tiles.len(), config.cell.gates(), lanes])?,
            dropped: zeroed("the input of a chunk", &[only(pass.dropout.is_some(), chunk_rows), input])?,
            raw: zeroed("h", &[only(projected || two_products, batch), units])?,
            tiles,
        };
        for b in 0..batch {
            let row = call.state_row(b);
            let h = &states[0][row * recurrent..(row + 1) * recurrent];
            part.all_h[b * recurrent..(b + 1) * recurrent].copy_from_slice(h);
            let own = part.units(recurrent);
            part.h[b * width..b * width + own.len()].copy_from_slice(&h[own]);
            if carried {
                let own = part.units(hidden);
                let c = &states[1][row * hidden..(row + 1) * hidden];
                part.c[b * units..b * units + own.len()].copy_from_slice(&c[own]);
            }
        }
        Ok(part)
    }

    /// Returns the range of `size` units or values of h that this part computes. With a projection, one part computes
    /// all of them.
    pub(super) fn units(&self, size: usize) -> Range<usize> {
        (self.tiles.start * self.lanes).min(size)..(self.tiles.end * self.lanes).min(size)
    }
}
