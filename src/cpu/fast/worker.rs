//! One thread's share of a layer: some units of one direction, over the whole sequence.

use std::marker::PhantomData;

use pulp::{Simd, WithSimd};

use super::Pass;
use super::cell::{Cell, Product, Run, State};
use super::exchange::{Exchange, Membership};
use super::pack::Packed;
use super::part::Part;
use super::product::{add_product, rows_at_a_time, tiles_at_a_time, with_sizes};

/// Runs a part of a layer whose cell C has G gates.
pub(super) struct Worker<'a, C, const G: usize> {
    pub(super) pass: &'a Pass<'a>,
    pub(super) part: &'a mut Part,
    pub(super) exchange: &'a Exchange,
    pub(super) cell: PhantomData<C>,
}

impl<C: Cell<G>, const G: usize> WithSimd for Worker<'_, C, G> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let _membership = Membership(self.exchange);
        let (time_steps, batch) = (self.pass.call.extents().time_steps, self.pass.call.extents().batch);
        let mut rows = Vec::with_capacity(batch);
        for first in (0..time_steps).step_by(self.pass.chunk_steps) {
            let steps = self.pass.chunk_steps.min(time_steps - first);
            self.input_product(simd, first, steps);
            for s in first..first + steps {
                // Rows that have ended keep their state.
                rows.clear();
                rows.extend((0..batch).filter(|&b| s < self.pass.call.length(b)));
                let in_gx = if self.pass.kept_in.is_some() { s } else { s - first };
                C::products(&mut Step { worker: &mut self, simd, s: in_gx, rows: &rows });
                if self.pass.config.is_projected() {
                    self.projection(simd, &rows);
                }
                self.store(s);
                if !self.share(s, &rows) {
                    return;
                }
            }
        }
    }
}

impl<C: Cell<G>, const G: usize> Worker<'_, C, G> {
    /// Computes `gx = W_ih·x + b_ih` of a chunk.
    #[inline(always)]
    fn input_product<S: Simd>(&mut self, simd: S, first: usize, steps: usize) {
        let (pass, direction) = (self.pass, self.part.direction);
        let (batch, features) = (pass.call.extents().batch, pass.config.layer_input_size(pass.layer));
        let x_at = |row: usize| {
            let b = row % batch;
            (pass.call.time_of(first + row / batch, direction, b) * pass.x_rows.time + b * pass.x_rows.batch) * features
        };
        let rows = steps * batch;
        if let Some((dropout, key)) = pass.dropout {
            for (row, kept) in self.part.dropped.chunks_exact_mut(features).take(rows).enumerate() {
                for (element, value) in (x_at(row)..).zip(kept) {
                    *value = dropout.apply(key, pass.x[element], element);
                }
            }
        }
        let dropped = &self.part.dropped;
        let x_of = |row: usize| match pass.dropout {
            Some(_) => &dropped[row * features..(row + 1) * features],
            None => &pass.x[x_at(row)..x_at(row) + features],
        };
        let packed = &pass.weights[direction].ih;
        let tiles = self.part.tiles.clone();
        let (gx, _) = S::as_mut_simd_f32s(&mut self.part.gx);
        let gx = &mut gx[if pass.kept_in.is_some() { first * batch * tiles.len() * G } else { 0 }..];
        let mut t = 0;
        while t < tiles.len() {
            let count = tiles_at_a_time(G, rows, tiles.len() - t);
            let mut row = 0;
            while row < rows {
                let size = rows_at_a_time::<S>(rows - row, G, count);
                let place = GxRows { tile: tiles.start + t, at: t, tiles: tiles.len(), row };
                with_sizes!(size, count, G, S, <R, T> input_product_rows::<S, G, R, T>(simd, packed, place, x_of, gx));
                row += size;
            }
            t += count;
        }
    }

    /// T tiles of a product, from the part's tile `t` on, for R rows: `gh = W_hh·h + b_hh` and what is fused with it.
    #[inline(always)]
    fn product_rows<S: Simd, P: Product<N, G>, const N: usize, const R: usize, const T: usize>(
        &mut self,
        simd: S,
        s: usize,
        t: usize,
        rows: &[usize],
    ) {
        let (config, batch) = (self.pass.config, self.pass.call.extents().batch);
        let (first, tiles) = (self.part.tiles.start + t, self.part.tiles.len());
        let products = &self.pass.weights[self.part.direction].hh;
        let packed = &products[P::NUMBER];
        let operand = if P::NUMBER == 0 { &self.part.all_h } else { &self.part.raw };
        let row_size = operand.len() / batch;
        let x: [&[f32]; R] = std::array::from_fn(|r| &operand[rows[r] * row_size..][..packed.columns]);
        let weights = std::array::from_fn(|i| S::as_simd_f32s(packed.weights(first + i)).0);
        let mut gh: [_; T] = std::array::from_fn(|i| [bias_of::<S, N>(packed, first + i); R]);
        add_product(simd, weights, x, &mut gh);

        let hands_on = config.is_projected() || P::NUMBER + 1 < products.len();
        let keeps = self.pass.kept_in.is_some();
        let Part { gx, h, raw, c, extra, .. } = &mut *self.part;
        let (gx, extra) = (S::as_mut_simd_f32s(gx).0, S::as_mut_simd_f32s(extra).0);
        let (h, raw, c) = (S::as_mut_simd_f32s(h).0, S::as_mut_simd_f32s(raw).0, S::as_mut_simd_f32s(c).0);
        let zero = simd.splat_f32s(0.0);
        for (t, gh) in (t..).zip(gh) {
            for (&b, gh) in rows.iter().zip(gh) {
                let at = ((s * batch + b) * tiles + t) * G;
                let gates = std::array::from_fn(|g| gx[at + g]);
                let own = b * tiles + t;
                // A projected h has no element for each unit, and its cell, the LSTM, asks for none.
                let own_h = if config.is_projected() { zero } else { h[own] };
                let stepped = P::apply(simd, gates, gh, State { h: own_h, c: c.get(own).copied().unwrap_or(zero) });
                let new = stepped.state;
                if keeps {
                    gx[at..at + G].copy_from_slice(&stepped.saved);
                    if let Some(extra) = extra.get_mut(s * batch * tiles + own) {
                        *extra = stepped.extra;
                    }
                }
                if hands_on {
                    raw[own] = new.h;
                } else {
                    h[own] = new.h;
                }
                if let Some(c) = c.get_mut(own) {
                    *c = new.c;
                }
            }
        }
    }

    /// `h = W_hr·raw`, for the rows that have not ended.
    #[inline(always)]
    fn projection<S: Simd>(&mut self, simd: S, rows: &[usize]) {
        let Some(packed) = &self.pass.weights[self.part.direction].hr else { return };
        let (units, row_size) = (packed.columns, self.part.raw.len() / self.pass.call.extents().batch);
        let raw = &self.part.raw;
        let (h, _) = S::as_mut_simd_f32s(&mut self.part.h);
        let tiles = packed.tiles();
        for tile in 0..tiles {
            for &b in rows {
                let mut sums = [[[simd.splat_f32s(0.0)]]];
                let x = [&raw[b * row_size..b * row_size + units]];
                add_product(simd, [S::as_simd_f32s(packed.weights(tile)).0], x, &mut sums);
                let [[[sum]]] = sums;
                h[b * tiles + tile] = sum;
            }
        }
    }

    /// Leaves h, and c if all of it is wanted, at the time that each row was at; padding where it has ended.
    #[inline(always)]
    fn store(&mut self, s: usize) {
        let (call, batch) = (self.pass.call, self.pass.call.extents().batch);
        let Part { y, h, c, all_c, direction, .. } = &mut *self.part;
        let width = h.len() / batch;
        let padding = call.padding_value as f32;
        for (b, h) in h.chunks_exact(width).enumerate() {
            let row = call.time_of(s, *direction, b) * batch + b;
            let y = &mut y[row * width..(row + 1) * width];
            if s < call.length(b) { y.copy_from_slice(h) } else { y.fill(padding) }
        }
        let Some(all_c) = all_c else { return };
        let width = c.len() / batch;
        for (b, c) in c.chunks_exact(width).enumerate().filter(|&(b, _)| s < call.length(b)) {
            let row = call.time_of(s, *direction, b) * batch + b;
            all_c[row * width..(row + 1) * width].copy_from_slice(c);
        }
    }

    /// Makes h of all units known to all workers of the direction; false if one has gone.
    #[inline(always)]
    fn share(&mut self, s: usize, rows: &[usize]) -> bool {
        let (width, batch) = (self.pass.config.recurrent_size(), self.pass.call.extents().batch);
        let units = self.part.units(width);
        let Part { h, all_h, .. } = &mut *self.part;
        let own_width = h.len() / batch;
        if !self.exchange.is_shared() {
            for &b in rows {
                let h = &h[b * own_width..b * own_width + units.len()];
                all_h[b * width + units.start..b * width + units.end].copy_from_slice(h);
            }
            return true;
        }
        for (b, h) in h.chunks_exact(own_width).enumerate() {
            self.exchange.publish(s, b * width + units.start, &h[..units.len()]);
        }
        self.exchange.collect(s, all_h)
    }
}

/// A time step of a part, for the rows that have not ended.
struct Step<'w, 'a, S, C, const G: usize> {
    worker: &'w mut Worker<'a, C, G>,
    simd: S,
    /// In gx: in its chunk, or among all steps if they are kept.
    s: usize,
    rows: &'w [usize],
}

impl<S: Simd, C: Cell<G>, const G: usize> Run<G> for Step<'_, '_, S, C, G> {
    #[inline(always)]
    fn product<P: Product<N, G>, const N: usize>(&mut self) {
        let Self { worker, simd, s, rows } = self;
        let tiles = worker.part.tiles.len();
        let mut t = 0;
        while t < tiles {
            let count = tiles_at_a_time(N, rows.len(), tiles - t);
            let mut rest: &[usize] = rows;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rows_at_a_time::<S>(rest.len(), N, count));
                with_sizes!(now.len(), count, N, S, <R, T> worker.product_rows::<S, P, N, R, T>(*simd, *s, t, now));
                rest = later;
            }
            t += count;
        }
    }
}

/// Returns the G vectors of a tile's bias.
#[inline(always)]
fn bias_of<S: Simd, const G: usize>(packed: &Packed, tile: usize) -> [S::f32s; G] {
    let (bias, _) = S::as_simd_f32s(packed.bias(tile));
    std::array::from_fn(|g| bias[g])
}

/// The place of some rows of gx: the packed tile, the tile within the part, and the first row.
#[derive(Clone, Copy)]
struct GxRows {
    tile: usize,
    at: usize,
    tiles: usize,
    row: usize,
}

/// Computes T tiles of gx for R rows.
#[inline(always)]
fn input_product_rows<'x, S: Simd, const G: usize, const R: usize, const T: usize>(
    simd: S,
    packed: &Packed,
    place: GxRows,
    x_of: impl Fn(usize) -> &'x [f32],
    gx: &mut [S::f32s],
) {
    let mut sums: [_; T] = std::array::from_fn(|t| [bias_of::<S, G>(packed, place.tile + t); R]);
    let weights = std::array::from_fn(|t| S::as_simd_f32s(packed.weights(place.tile + t)).0);
    let x = std::array::from_fn(|r| x_of(place.row + r));
    add_product(simd, weights, x, &mut sums);
    for (t, sums) in sums.iter().enumerate() {
        for (r, sums) in sums.iter().enumerate() {
            let at = ((place.row + r) * place.tiles + place.at + t) * G;
            gx[at..at + G].copy_from_slice(sums);
        }
    }
}
