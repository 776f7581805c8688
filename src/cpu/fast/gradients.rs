//! The gradients of a layer's weights and input: products over all steps and rows, once these have run through time.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::deltas::{Deltas, first_of_gh, gates};
use super::outer::{AddOuter, Operand, pieces};
use super::pack::Packed;
use super::product::AddRows;
use super::{FastModel, LAYER_FLOPS_OF_A_THREAD};
use crate::call::Call;
use crate::cpu::rows::gather;
use crate::dropout::{Dropout, Key};
use crate::error::Result;
use crate::extents::RowStride;
use crate::memory::zeroed;
use crate::real::Real;
use crate::tensor::Tensor;
use crate::weights::LayerWeights;

/// What the gradients of a direction of a layer are computed from.
pub(super) struct Source<'a> {
    pub(super) direction: usize,
    pub(super) x: &'a [f32],
    pub(super) x_rows: RowStride,
    pub(super) dropout: Option<(Dropout, Key)>,
    pub(super) h_before: &'a [f32],
    pub(super) deltas: &'a Deltas,
}

/// A part of the work that threads share; no two write the same element.
enum Piece<'a> {
    Outer(AddOuter<'a>),
    Rows(AddRows<'a>),
    /// Sums some columns of a matrix, from the given one on, over all rows of the given width.
    Columns(&'a mut [f32], &'a [f32], usize, usize),
}

/// The pieces of the gradients of a direction.
struct Pieces<'a> {
    all: VecDeque<Piece<'a>>,
    threads: usize,
}

impl FastModel {
    /// Adds the gradients of the weights of a direction to `target`, and those of its input to `dx`. `transposed` are
    /// its weights of the input.
    pub(super) fn add_gradients<F: Real>(
        &self,
        call: &Call,
        source: &Source<'_>,
        transposed: &Packed,
        target: &mut LayerWeights<F>,
        dx: &mut [f32],
    ) -> Result<()> {
        let (config, extents, deltas) = (&self.config, call.extents(), source.deltas);
        let (rows, gate_rows, width) = (extents.rows(), config.gate_rows(), config.recurrent_size());
        let features = transposed.units;
        let x_row = |row: usize| {
            let (s, b) = (row / extents.batch, row % extents.batch);
            let time = || call.time_of(s, source.direction, b);
            (s < call.length(b)).then(|| time() * source.x_rows.time + b * source.x_rows.batch)
        };
        let in_order = (0..rows).all(|row| x_row(row) == Some(row));
        let gathered = match !in_order || source.dropout.is_some() {
            true => gather(source.x, features, rows, x_row, source.dropout)?,
            false => Vec::new(),
        };
        let x = if gathered.is_empty() { source.x } else { &gathered };
        // dx = W_ihᵀ·δ, in whole vectors.
        let padded = transposed.tiles() * self.lanes;
        let direct = in_order && padded == features;
        let mut of_rows = zeroed("the gradient of a layer's input", &[if direct { 0 } else { rows }, padded])?;

        let flops = 2 * rows as u64 * gate_rows as u64 * (2 * features + width) as u64;
        let mut of_columns = zeroed("the gradient of a bias", &[gates(config.cell), config.hidden_size])?;
        let mut pieces = Pieces::new(self.threads.min((flops / LAYER_FLOPS_OF_A_THREAD).max(1) as usize));
        let (cell, hidden) = (config.cell, config.hidden_size);
        let (all, stride, gh) = (&deltas.all[..], gates(cell) * hidden, first_of_gh(cell) * hidden);
        let [ih, hh, bias_ih, bias_hh, hr] = target.each_mut().map(|array| array.map_or(&mut [][..], of_f32));
        // The gates whose gradients W_ih and W_hh share, and the others.
        let shared = config.cell.products()[0].len() * hidden - gh;
        let (ih, rest_ih) = ih.split_at_mut(shared * features);
        let (hh, rest_hh) = hh.split_at_mut(shared * width);
        pieces.outer((all, stride), gh, [(x, ih), (source.h_before, hh)]);
        if gh > 0 {
            pieces.outer((all, stride), 0, [(x, rest_ih)]);
            pieces.outer((all, stride), gh + shared, [(source.h_before, rest_hh)]);
        } else {
            pieces.outer((all, stride), shared, [(x, rest_ih), (&deltas.operand, rest_hh)]);
        }
        if !hr.is_empty() {
            pieces.outer((&deltas.projected, width), 0, [(&deltas.operand, hr)]);
        }
        pieces.rows(if direct { &mut *dx } else { &mut of_rows }, (all, stride), transposed, padded);
        if !bias_ih.is_empty() {
            pieces.columns(&mut of_columns, all);
        }
        pieces.run(self);
        if !bias_ih.is_empty() {
            bias_hh.copy_from_slice(&of_columns[gh..gh + gate_rows]);
            let (from_gh, rest) = bias_ih.split_at_mut(gate_rows - gh);
            from_gh.copy_from_slice(&of_columns[gh..gate_rows]);
            rest.copy_from_slice(&of_columns[..rest.len()]);
        }
        if !direct {
            for (row, of_row) in of_rows.chunks_exact(padded).enumerate() {
                let Some(row) = x_row(row) else { continue };
                let dx = &mut dx[row * features..(row + 1) * features];
                dx.iter_mut().zip(of_row).for_each(|(dx, of_row)| *dx += of_row);
            }
        }
        Ok(())
    }
}

impl<'a> Pieces<'a> {
    fn new(threads: usize) -> Self {
        Self { all: VecDeque::new(), threads }
    }

    /// Cuts sums of outer products by the columns of `deltas`, `[rows, width]`, from column `first` on. `sums` has the
    /// other factor of each sum, `[rows, ·]`.
    fn outer<const N: usize>(
        &mut self,
        (deltas, width): (&'a [f32], usize),
        first: usize,
        sums: [(&'a [f32], &'a mut [f32]); N],
    ) {
        let rows = (deltas.len() / width).max(1);
        let count = sums.first().map_or(0, |(b, sum)| sum.len() * rows / b.len().max(1));
        let size = count.div_ceil(self.threads).max(1);
        let mut parts: Vec<AddOuter<'_>> = pieces(first..first + count, size)
            .map(|columns| AddOuter { a: deltas, a_width: width, columns, operands: Vec::with_capacity(N) })
            .collect();
        for (b, sum) in sums.into_iter().filter(|(_, sum)| !sum.is_empty()) {
            let width = b.len() / rows;
            for (part, sum) in parts.iter_mut().zip(sum.chunks_mut(size * width)) {
                part.operands.push(Operand { b, width, sum });
            }
        }
        self.all.extend(parts.into_iter().map(Piece::Outer));
    }

    /// Cuts the sums of all columns of a matrix.
    fn columns(&mut self, sums: &'a mut [f32], deltas: &'a [f32]) {
        let width = sums.len();
        let size = width.div_ceil(self.threads);
        let parts = sums.chunks_mut(size).zip((0..width).step_by(size));
        self.all.extend(parts.map(|(sums, first)| Piece::Columns(sums, deltas, width, first)));
    }

    /// Cuts a product by the rows of its result, `[rows, width]`.
    fn rows(&mut self, sums: &'a mut [f32], (deltas, stride): (&'a [f32], usize), packed: &'a Packed, width: usize) {
        let rows = (deltas.len() / stride).div_ceil(self.threads).max(1);
        let parts = sums.chunks_mut(rows * width).zip(deltas.chunks(rows * stride));
        self.all.extend(parts.map(|(sums, x)| Piece::Rows(AddRows { packed, x, stride, sums })));
    }

    /// Computes all pieces. Threads take them until none is left, so one that is not spawned leaves them to the others.
    fn run(self, model: &FastModel) {
        let all = Mutex::new(self.all);
        let work = || {
            loop {
                let piece = all.lock().pop_front();
                match piece {
                    Some(Piece::Outer(outer)) => model.arch.dispatch(outer),
                    Some(Piece::Rows(rows)) => model.arch.dispatch(rows),
                    Some(Piece::Columns(sums, deltas, width, first)) => {
                        for row in deltas.chunks_exact(width) {
                            sums.iter_mut().zip(&row[first..]).for_each(|(sum, delta)| *sum += delta);
                        }
                    }
                    None => return,
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.threads {
                let thread = std::thread::Builder::new().name("wgpu-rnn".to_owned());
                if thread.spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
    }
}

/// Returns the elements of an array as f32, which F is.
fn of_f32<F: Real>(array: &mut Tensor<F>) -> &mut [f32] {
    bytemuck::cast_slice_mut(array.data_mut())
}
