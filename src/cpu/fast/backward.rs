//! One thread's share of a backward through time: some units of one direction, from the last step to the first.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::activation::tanh;
use super::cell_backward::{Values, backward};
use super::exchange::{Exchange, Membership};
use super::pack::Packed;
use super::part::Part;
use super::product::add_tiles;
use super::tape::FastTape;
use crate::cell_kind::{CellKind, gru_gate};
use crate::config::RecurrentConfig;
use crate::error::Result;
use crate::extents::RowStride;
use crate::memory::zeroed;

/// The transposed weights of one layer and direction.
#[derive(Clone, Debug)]
pub(super) struct Transposed {
    /// One per product of a step.
    pub(super) hh: Vec<Packed>,
    pub(super) hr: Option<Packed>,
    /// Those that multiply the input, for its gradient.
    pub(super) ih: Packed,
}

/// One layer of a backward.
pub(super) struct Pass<'a> {
    pub(super) arch: Arch,
    pub(super) config: &'a RecurrentConfig,
    pub(super) tape: &'a FastTape,
    pub(super) layer: usize,
    /// One for each direction.
    pub(super) transposed: &'a [Transposed],
    /// h before each step, `[T·B, P]` in the order of the steps, for each direction.
    pub(super) h_before: &'a [Vec<f32>],
    pub(super) dy: &'a [f32],
    pub(super) y_rows: RowStride,
}

/// The arrays of one worker. Rows `[T·B]` are in the order of the steps and are zero past the end of a row.
pub(super) struct Member<'a> {
    pub(super) direction: usize,
    tiles: Range<usize>,
    lanes: usize,
    /// For each tile, the worker of the forward that kept it, and its place there.
    kept: Vec<(&'a Part, usize)>,
    /// The units of this worker.
    pub(super) units: Range<usize>,
    /// `[B, width]`: the gradient with respect to h; the width is that of the units or, with a projection, of P,
    /// padded.
    pub(super) dh: Vec<f32>,
    /// `[B, units]`, padded: the gradient with respect to c.
    pub(super) dc: Vec<f32>,
    /// `[T·B, G, units]`: the gradient with respect to gx.
    pub(super) gx: Vec<f32>,
    /// `[T·B, G, units]`: that with respect to gh, where it is another.
    gh: Vec<f32>,
    /// `[B, G·H]`: that of the current step, from all workers, if there are others.
    all: Vec<f32>,
    /// `[B, units]`, padded: the gradient with respect to h before a projection or to the operand of a second product.
    inner: Vec<f32>,
    /// `[T·B, H]`: what was projected, or the operand of the second product.
    pub(super) operand: Vec<f32>,
    /// `[T·B, P]`: with a projection, the gradient with respect to h at every step.
    pub(super) projected: Vec<f32>,
}

impl<'a> Member<'a> {
    /// Allocates the arrays for some tiles of a direction. `states` are the gradients with respect to the last states.
    pub(super) fn new(
        pass: &Pass<'a>,
        direction: usize,
        tiles: Range<usize>,
        lanes: usize,
        shared: bool,
        states: &[Vec<f32>],
    ) -> Result<Self> {
        let (config, extents) = (pass.config, pass.tape.call.extents());
        let (batch, rows, gates) = (extents.batch, extents.rows(), config.cell.gates());
        let (hidden, recurrent) = (config.hidden_size, config.recurrent_size());
        let units = (tiles.start * lanes).min(hidden)..(tiles.end * lanes).min(hidden);
        let (projected, two_products) = (config.is_projected(), config.cell.products().len() > 1);
        let padded = tiles.len() * lanes;
        let width = if projected { recurrent.next_multiple_of(lanes) } else { padded };
        let only = |wanted: bool, rows: usize| if wanted { rows } else { 0 };
        let parts = pass.tape.layers[pass.layer].iter().filter(|part| part.direction == direction);
        let parts: Vec<&Part> = parts.collect();
        let place =
            |t: usize| parts.iter().find(|part| part.tiles.contains(&t)).map(|&part| (part, t - part.tiles.start));
        let mut member = Self {
            direction,
            lanes,
            kept: tiles.clone().filter_map(place).collect(),
            dh: zeroed("the gradient of h", &[batch, width])?,
            dc: zeroed("the gradient of c", &[only(states.len() > 1, batch), padded])?,
            gx: zeroed("the gradient of gx", &[rows, gates, units.len()])?,
            gh: zeroed("the gradient of gh", &[only(config.cell == CellKind::Gru, rows), gates, units.len()])?,
            all: zeroed("the gradient of gh", &[only(shared, batch), gates, hidden])?,
            inner: zeroed("the gradient of a unit", &[only(projected || two_products, batch), padded])?,
            operand: zeroed("the operand of a step", &[only(projected || two_products, rows), hidden])?,
            projected: zeroed("the gradient of h", &[only(projected, rows), recurrent])?,
            tiles,
            units,
        };
        let index = pass.layer * config.directions() + direction;
        let own = member.own(recurrent);
        for b in 0..batch {
            let at = (index * batch + b) * recurrent;
            member.dh[b * width..b * width + own.len()].copy_from_slice(&states[0][at + own.start..at + own.end]);
            if let Some(dc) = states.get(1) {
                let (at, own) = ((index * batch + b) * hidden, member.units.clone());
                member.dc[b * padded..b * padded + own.len()].copy_from_slice(&dc[at + own.start..at + own.end]);
            }
        }
        Ok(member)
    }

    /// Returns the range of the P values of h that this worker computes.
    pub(super) fn own(&self, size: usize) -> Range<usize> {
        (self.tiles.start * self.lanes).min(size)..(self.tiles.end * self.lanes).min(size)
    }

    /// Returns the gradient with respect to gh, `[T·B, G, units]`.
    pub(super) fn gh(&self) -> &[f32] {
        if self.gh.is_empty() { &self.gx } else { &self.gh }
    }

    /// Takes the gradient with respect to gh where it is another than that of gx.
    pub(super) fn take_gh(&mut self) -> Vec<f32> {
        std::mem::take(&mut self.gh)
    }
}

/// The worker of a backward whose cell has G gates.
pub(super) struct Worker<'w, 'a, const G: usize> {
    pub(super) pass: &'w Pass<'a>,
    pub(super) member: &'w mut Member<'a>,
    pub(super) exchange: &'w Exchange,
}

impl<const G: usize> WithSimd for Worker<'_, '_, G> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let _membership = Membership(self.exchange);
        let (call, config) = (&self.pass.tape.call, self.pass.config);
        let (time_steps, batch) = (call.extents().time_steps, call.extents().batch);
        let transposed = &self.pass.transposed[self.member.direction];
        let mut rows = Vec::with_capacity(batch);
        for (count, s) in (0..time_steps).rev().enumerate() {
            rows.clear();
            rows.extend((0..batch).filter(|&b| s < call.length(b)));
            self.add_dy(s, &rows);
            if let Some(hr) = &transposed.hr {
                self.unproject(simd, hr, s, &rows);
            }
            self.cell(simd, s, &rows);
            let width = G * self.member.units.len();
            if let [_, second] = &*transposed.hh {
                let deltas = &self.member.gx[s * batch * width..(s + 1) * batch * width];
                self.member.inner.fill(0.0);
                let from = width - second.columns;
                add_tiles(simd, second, 0..second.tiles(), &rows, (&deltas[from..], width), &mut self.member.inner);
                self.reset(s, &rows);
            }
            if config.is_projected() {
                let size = self.member.dh.len() / batch;
                rows.iter().for_each(|&b| self.member.dh[b * size..(b + 1) * size].fill(0.0));
            }
            let shared = self.exchange.is_shared();
            if shared && !self.share(count, s) {
                return;
            }
            let first = &transposed.hh[0];
            let tiles = if config.is_projected() { 0..first.tiles() } else { self.member.tiles.clone() };
            let Member { all, gx, gh, dh, .. } = &mut *self.member;
            let own = if gh.is_empty() { gx } else { gh };
            let deltas = match shared {
                true => (&all[..], G * config.hidden_size),
                false => (&own[s * batch * width..(s + 1) * batch * width], width),
            };
            add_tiles(simd, first, tiles, &rows, deltas, dh);
        }
    }
}

impl<const G: usize> Worker<'_, '_, G> {
    /// Adds the gradient of the output at a step to that of h.
    #[inline(always)]
    fn add_dy(&mut self, s: usize, rows: &[usize]) {
        let Pass { config, tape, y_rows, dy, .. } = self.pass;
        let (batch, width) = (tape.call.extents().batch, config.recurrent_size());
        let (own, size) = (self.member.own(width), self.member.dh.len() / batch);
        for &b in rows {
            let time = tape.call.time_of(s, self.member.direction, b);
            let at = (time * y_rows.time + b * y_rows.batch) * config.output_size() + self.member.direction * width;
            let dh = &mut self.member.dh[b * size..b * size + own.len()];
            dh.iter_mut().zip(&dy[at + own.start..at + own.end]).for_each(|(dh, dy)| *dh += dy);
        }
    }

    /// `dm = W_hrᵀ·dh`
    #[inline(always)]
    fn unproject<S: Simd>(&mut self, simd: S, hr: &Packed, s: usize, rows: &[usize]) {
        let (batch, width) = (self.pass.tape.call.extents().batch, self.pass.config.recurrent_size());
        let Member { dh, projected, inner, .. } = &mut *self.member;
        let size = dh.len() / batch;
        for &b in rows {
            let row = s * batch + b;
            projected[row * width..(row + 1) * width].copy_from_slice(&dh[b * size..b * size + width]);
        }
        inner.fill(0.0);
        add_tiles(simd, hr, 0..hr.tiles(), rows, (dh, size), inner);
    }

    /// Runs the pointwise part of a step.
    #[inline(always)]
    fn cell<S: Simd>(&mut self, simd: S, s: usize, rows: &[usize]) {
        let Pass { config, tape, layer, h_before, .. } = self.pass;
        let (call, lanes, hidden) = (&tape.call, S::F32_LANES, config.hidden_size);
        let Member { direction, tiles, kept, units, dh, dc, gx, gh, inner, operand, .. } = &mut *self.member;
        let batch = call.extents().batch;
        let index = layer * config.directions() + *direction;
        let projected = config.is_projected();
        let zero = simd.splat_f32s(0.0);
        let (dh, dc, inner) = (S::as_mut_simd_f32s(dh).0, S::as_mut_simd_f32s(dc).0, S::as_simd_f32s(inner).0);
        for &b in rows {
            let (row, time) = (s * batch + b, call.time_of(s, *direction, b));
            let before = if s > 0 { call.time_of(s - 1, *direction, b) } else { 0 };
            for (i, &(part, at)) in kept.iter().enumerate() {
                let (own, first) = (b * tiles.len() + i, (tiles.start + i) * lanes);
                let end = (first + lanes).min(hidden);
                let of = |row: usize| row * part.tiles.len() + at;
                let saved = S::as_simd_f32s(&part.gx).0;
                let c = part.all_c.as_deref().map_or(&[][..], |c| S::as_simd_f32s(c).0);
                let old_c = match (s, tape.initial.get(1)) {
                    (0, Some(c)) => {
                        let at = (index * batch + b) * hidden;
                        simd.partial_load_f32s(&c[at + first..at + end])
                    }
                    _ => c.get(of(before * batch + b)).copied().unwrap_or(zero),
                };
                let h = &h_before[*direction];
                let values = Values::<_, G> {
                    saved: std::array::from_fn(|g| saved[of(row) * G + g]),
                    extra: S::as_simd_f32s(&part.extra).0.get(of(row)).copied().unwrap_or(zero),
                    old_h: match projected {
                        true => zero,
                        false => simd.partial_load_f32s(&h[row * hidden + first..row * hidden + end]),
                    },
                    old_c,
                    tanh_c: c.get(of(time * batch + b)).map_or(zero, |&c| tanh(simd, c)),
                };
                let of_h = if projected { inner[own] } else { dh[own] };
                let of_c = dc.get(own).copied().unwrap_or(zero);
                let of_unit = backward(simd, config.cell, &values, of_h, of_c);
                let (from, size) = (first - units.start, units.len());
                for g in 0..G {
                    let at = (row * G + g) * size + from;
                    let delta = of_unit.gates[g];
                    simd.partial_store_f32s(&mut gx[at..at + end - first], delta);
                    if !gh.is_empty() {
                        // A GRU's recurrent part of n acts through r.
                        let delta = if g == gru_gate::NEW { simd.mul_f32s(delta, values.saved[0]) } else { delta };
                        simd.partial_store_f32s(&mut gh[at..at + end - first], delta);
                    }
                }
                if !projected {
                    dh[own] = of_unit.h;
                }
                if let Some(dc) = dc.get_mut(own) {
                    *dc = of_unit.c;
                }
                if !operand.is_empty() {
                    let to = &mut operand[row * hidden + first..row * hidden + end];
                    let (factor, value) = match projected {
                        true => (values.saved[G - 1], values.tanh_c),
                        false => (values.saved[0], values.old_h),
                    };
                    simd.partial_store_f32s(to, simd.mul_f32s(factor, value));
                }
            }
        }
    }

    /// Takes the gradient of the second product's operand, r ⊙ h, to r and h.
    #[inline(always)]
    fn reset(&mut self, s: usize, rows: &[usize]) {
        let Pass { tape, h_before, .. } = self.pass;
        let Member { direction, kept, lanes, units, dh, gx, inner, .. } = &mut *self.member;
        let (batch, hidden, size) = (tape.call.extents().batch, units.len(), dh.len() / tape.call.extents().batch);
        for &b in rows {
            let row = s * batch + b;
            let h = &h_before[*direction][row * hidden..(row + 1) * hidden];
            let dr = &mut gx[row * G * hidden..][..hidden];
            for (i, &(part, at)) in kept.iter().enumerate() {
                let saved = &part.gx[(row * part.tiles.len() + at) * G * *lanes..][..*lanes];
                let first = i * *lanes;
                for (u, &r) in (first..hidden).zip(saved) {
                    let of_operand = inner[b * size + u];
                    dr[u] = of_operand * h[u] * (r * (1.0 - r));
                    dh[b * size + u] += of_operand * r;
                }
            }
        }
    }

    /// Exchanges the gradient with respect to gh of a step; false if a worker has gone.
    #[inline(always)]
    fn share(&mut self, count: usize, s: usize) -> bool {
        let (batch, hidden) = (self.pass.tape.call.extents().batch, self.pass.config.hidden_size);
        let Member { units, gx, gh, all, .. } = &mut *self.member;
        let own = if gh.is_empty() { gx } else { gh };
        for b in 0..batch {
            for g in 0..G {
                let at = ((s * batch + b) * G + g) * units.len();
                self.exchange.publish(count, (b * G + g) * hidden + units.start, &own[at..at + units.len()]);
            }
        }
        self.exchange.collect(count, all)
    }
}
