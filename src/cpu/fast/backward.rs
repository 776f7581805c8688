//! One thread's share of a backward through time: some units of one direction, from the last step to the first.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::activation::tanh;
use super::cell_backward::{Values, backward};
use super::deltas::{Target, first_of_gh, gates, place_in_gx};
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

/// The arrays of one worker: some rows of a direction and, if others have the same rows, some of the units.
pub(super) struct Member<'a> {
    pub(super) direction: usize,
    tiles: Range<usize>,
    lanes: usize,
    /// For each tile, the worker of the forward that kept it, and its place there.
    kept: Vec<(&'a Part, usize)>,
    /// The batch rows of this worker.
    pub(super) rows: Range<usize>,
    /// The units of this worker.
    pub(super) units: Range<usize>,
    /// `[rows, width]`: the gradient with respect to h; the width is that of the units or, with a projection, of P,
    /// padded.
    pub(super) dh: Vec<f32>,
    /// `[rows, units]`, padded: the gradient with respect to c.
    pub(super) dc: Vec<f32>,
    /// `[rows, units]`, padded: the gradient with respect to h before a projection or to the operand of a second
    /// product.
    inner: Vec<f32>,
    /// Where the gradients of every step are left; of workers that share rows, the first leaves those of all.
    target: Target<'a>,
    /// `[rows, N, units]`: the gradients of the current step, if others have the same rows.
    own: Vec<f32>,
    /// `[rows, N·H]`: those of all units, if another worker leaves them.
    all: Vec<f32>,
}

impl<'a> Member<'a> {
    /// Allocates the arrays for some rows and tiles of a direction. `states` are the gradients with respect to the last
    /// states.
    pub(super) fn new(
        pass: &Pass<'a>,
        direction: usize,
        (rows, tiles): (Range<usize>, Range<usize>),
        lanes: usize,
        target: Option<Target<'a>>,
        states: &[Vec<f32>],
    ) -> Result<Self> {
        let (config, batch) = (pass.config, pass.tape.call.extents().batch);
        let (hidden, recurrent, gates) = (config.hidden_size, config.recurrent_size(), gates(config.cell));
        let units = (tiles.start * lanes).min(hidden)..(tiles.end * lanes).min(hidden);
        let padded = tiles.len() * lanes;
        let width = if config.is_projected() { recurrent.next_multiple_of(lanes) } else { padded };
        let only = |wanted: bool| if wanted { rows.len() } else { 0 };
        let parts = pass.tape.layers[pass.layer].iter().filter(|part| part.direction == direction);
        let parts: Vec<&Part> = parts.collect();
        let place =
            |t: usize| parts.iter().find(|part| part.tiles.contains(&t)).map(|&part| (part, t - part.tiles.start));
        let has_inner = config.is_projected() || config.cell.products().len() > 1;
        let mut member = Self {
            direction,
            lanes,
            kept: tiles.clone().filter_map(place).collect(),
            dh: zeroed("the gradient of h", &[rows.len(), width])?,
            dc: zeroed("the gradient of c", &[only(states.len() > 1), padded])?,
            inner: zeroed("the gradient of a unit", &[only(has_inner), padded])?,
            own: zeroed("the gradients of a step", &[only(units.len() < hidden), gates, units.len()])?,
            all: zeroed("the gradients of a step", &[only(target.is_none()), gates, hidden])?,
            target: target.unwrap_or_default(),
            tiles,
            units,
            rows,
        };
        let index = pass.layer * config.directions() + direction;
        let own = member.own(recurrent);
        for (r, b) in member.rows.clone().enumerate() {
            let at = (index * batch + b) * recurrent;
            member.dh[r * width..r * width + own.len()].copy_from_slice(&states[0][at + own.start..at + own.end]);
            if let Some(dc) = states.get(1) {
                let (at, own) = ((index * batch + b) * hidden, member.units.clone());
                member.dc[r * padded..r * padded + own.len()].copy_from_slice(&dc[at + own.start..at + own.end]);
            }
        }
        Ok(member)
    }

    /// Returns the range of the P values of h that this worker computes.
    pub(super) fn own(&self, size: usize) -> Range<usize> {
        (self.tiles.start * self.lanes).min(size)..(self.tiles.end * self.lanes).min(size)
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
        let first_row = self.member.rows.start;
        let transposed = &self.pass.transposed[self.member.direction];
        let (gh, width) = (first_of_gh(config.cell) * config.hidden_size, gates(config.cell) * config.hidden_size);
        let mut rows = Vec::with_capacity(self.member.rows.len());
        for (count, s) in (0..call.extents().time_steps).rev().enumerate() {
            rows.clear();
            for r in 0..self.member.rows.len() {
                match s < call.length(first_row + r) {
                    true => rows.push(r),
                    false => self.member.target.clear(s, r, self.member.rows.len()),
                }
            }
            self.add_dy(s, &rows);
            if let Some(hr) = &transposed.hr {
                self.unproject(simd, hr, s, &rows);
            }
            self.cell(simd, s, &rows);
            if let [_, second] = &*transposed.hh {
                let Member { target, inner, .. } = &mut *self.member;
                let deltas = &target.all[s][width - second.columns..];
                inner.fill(0.0);
                add_tiles(simd, second, 0..second.tiles(), &rows, (deltas, width), inner);
                self.reset(s, &rows);
            }
            if config.is_projected() {
                let size = self.member.dh.len() / self.member.rows.len();
                rows.iter().for_each(|&r| self.member.dh[r * size..(r + 1) * size].fill(0.0));
            }
            if self.exchange.is_shared() && !self.share(count, s) {
                return;
            }
            let first = &transposed.hh[0];
            let Member { tiles, target, all, dh, .. } = &mut *self.member;
            let tiles = if config.is_projected() { 0..first.tiles() } else { tiles.clone() };
            let deltas = target.all.get(s).map_or(&all[..], |deltas| deltas);
            add_tiles(simd, first, tiles, &rows, (&deltas[gh..], width), dh);
        }
    }
}

impl<const G: usize> Worker<'_, '_, G> {
    /// Adds the gradient of the output at a step to that of h.
    #[inline(always)]
    fn add_dy(&mut self, s: usize, rows: &[usize]) {
        let Pass { config, tape, y_rows, dy, .. } = self.pass;
        let width = config.recurrent_size();
        let (own, size) = (self.member.own(width), self.member.dh.len() / self.member.rows.len());
        for &r in rows {
            let b = self.member.rows.start + r;
            let time = tape.call.time_of(s, self.member.direction, b);
            let at = (time * y_rows.time + b * y_rows.batch) * config.output_size() + self.member.direction * width;
            let dh = &mut self.member.dh[r * size..r * size + own.len()];
            dh.iter_mut().zip(&dy[at + own.start..at + own.end]).for_each(|(dh, dy)| *dh += dy);
        }
    }

    /// `dm = W_hrᵀ·dh`
    #[inline(always)]
    fn unproject<S: Simd>(&mut self, simd: S, hr: &Packed, s: usize, rows: &[usize]) {
        let width = self.pass.config.recurrent_size();
        let Member { rows: own, dh, target, inner, .. } = &mut *self.member;
        let size = dh.len() / own.len();
        for &r in rows {
            target.projected[s][r * width..(r + 1) * width].copy_from_slice(&dh[r * size..r * size + width]);
        }
        inner.fill(0.0);
        add_tiles(simd, hr, 0..hr.tiles(), rows, (dh, size), inner);
    }

    /// Runs the pointwise part of a step.
    #[inline(always)]
    fn cell<S: Simd>(&mut self, simd: S, s: usize, rows: &[usize]) {
        let Pass { config, tape, layer, h_before, .. } = self.pass;
        let (call, lanes, hidden) = (&tape.call, S::F32_LANES, config.hidden_size);
        let Member { direction, tiles, kept, rows: all_rows, units, dh, dc, inner, target, own, .. } =
            &mut *self.member;
        let batch = call.extents().batch;
        let index = layer * config.directions() + *direction;
        let projected = config.is_projected();
        let zero = simd.splat_f32s(0.0);
        let (dh, dc, inner) = (S::as_mut_simd_f32s(dh).0, S::as_mut_simd_f32s(dc).0, S::as_simd_f32s(inner).0);
        let deltas = if own.is_empty() { &mut *target.all[s] } else { own };
        for &r in rows {
            let b = all_rows.start + r;
            let (row, time) = (s * batch + b, call.time_of(s, *direction, b));
            let before = if s > 0 { call.time_of(s - 1, *direction, b) } else { 0 };
            for (i, &(part, at)) in kept.iter().enumerate() {
                let (own, first) = (r * tiles.len() + i, (tiles.start + i) * lanes);
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
                let at = |place: usize| {
                    let at = (r * gates(config.cell) + place) * size + from;
                    at..at + end - first
                };
                for (g, &delta) in of_unit.gates.iter().enumerate() {
                    simd.partial_store_f32s(&mut deltas[at(place_in_gx(config.cell, g))], delta);
                }
                if config.cell == CellKind::Gru {
                    // The recurrent part of n acts through r.
                    let delta = simd.mul_f32s(of_unit.gates[gru_gate::NEW % G], values.saved[gru_gate::RESET % G]);
                    simd.partial_store_f32s(&mut deltas[at(G)], delta);
                }
                if !projected {
                    dh[own] = of_unit.h;
                }
                if let Some(dc) = dc.get_mut(own) {
                    *dc = of_unit.c;
                }
                if let Some(operand) = target.operand.get_mut(s) {
                    let to = &mut operand[r * hidden + first..r * hidden + end];
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
        let Member { direction, kept, lanes, rows: all_rows, units, dh, inner, target, .. } = &mut *self.member;
        let (batch, hidden, size) = (tape.call.extents().batch, units.len(), dh.len() / all_rows.len());
        for &r in rows {
            let row = s * batch + all_rows.start + r;
            let h = &h_before[*direction][row * hidden..(row + 1) * hidden];
            let dr = &mut target.all[s][r * G * hidden..][..hidden];
            for (i, &(part, at)) in kept.iter().enumerate() {
                let saved = &part.gx[(row * part.tiles.len() + at) * G * *lanes..][..*lanes];
                let first = i * *lanes;
                for (u, &gate) in (first..hidden).zip(saved) {
                    let of_operand = inner[r * size + u];
                    dr[u] = of_operand * h[u] * (gate * (1.0 - gate));
                    dh[r * size + u] += of_operand * gate;
                }
            }
        }
    }

    /// Exchanges the gradients of a step; false if a worker has gone.
    #[inline(always)]
    fn share(&mut self, count: usize, s: usize) -> bool {
        let hidden = self.pass.config.hidden_size;
        let Member { units, target, own, all, .. } = &mut *self.member;
        for (gate, own) in own.chunks_exact(units.len()).enumerate() {
            self.exchange.publish(count, gate * hidden + units.start, own);
        }
        self.exchange.collect(count, target.all.get_mut(s).map_or(all, |deltas| deltas))
    }
}
