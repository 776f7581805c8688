//! Backward through time: the gradients of a forward, layer by layer from the last, step by step from the end.
//!
//! The recurrent product passes `W_hhᵀ·δ` to the step before, and the input product passes `W_ihᵀ·δ` to the layer
//! below. The gradients of the weights are products over all steps and rows, each summed in one fixed order.

use std::ops::Range;

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, Axis};

use crate::cell_kind::MAX_GATES;
use crate::config::RecurrentConfig;
use crate::cpu::reference::cell::{State, backward as cell_backward, reset_backward};
use crate::cpu::reference::step::add_product;
use crate::cpu::reference::tape::Tape;
use crate::cpu::rows::{gather, h_before};
use crate::dropout::Dropout;
use crate::error::Result;
use crate::gradients::{Derived, Given, zero_weights};
use crate::memory::zeroed;
use crate::real::Real;
use crate::weights::LayerWeights;

/// One (layer, direction) of a backward. Rows of its arrays are steps and rows of the batch, `[T, B]` in the order of
/// the steps; they are zero past the end of a row.
struct Pass<'a, F> {
    config: &'a RecurrentConfig,
    tape: &'a Tape<F>,
    weights: &'a LayerWeights<F>,
    layer: usize,
    direction: usize,
    /// h before each step, `[T·B, P]`.
    h_before: Vec<F>,
}

/// The gradients of a layer and direction at every step.
struct Deltas<F> {
    /// With respect to gx, `[T·B, G·H]`.
    gx: Vec<F>,
    /// With respect to gh, `[T·B, G·H]`.
    gh: Vec<F>,
    /// The operand of the second product, `[T·B, H]`, for a cell that has one.
    gated: Vec<F>,
    /// With a projection, the gradient with respect to h and the value that is projected: `[T·B, P]`, `[T·B, H]`.
    h: Vec<F>,
    raw: Vec<F>,
}

/// Runs the backward of a forward whose output was `output`.
pub(super) fn backward<F: Real>(
    config: &RecurrentConfig,
    weights: &[LayerWeights<F>],
    tape: &Tape<F>,
    output: &[F],
    given: &Given<'_, F>,
) -> Result<Derived<F>> {
    let (call, extents) = (&tape.call, tape.call.extents());
    let mut gradients = zero_weights(config)?;
    let mut states = given.states_or_zeros(config, call)?;
    let mut dy = given.output_or_zeros(config, call)?;
    for layer in (0..config.num_layers).rev() {
        let features = config.layer_input_size(layer);
        let x = if layer == 0 { &tape.input } else { &tape.between[layer - 1] };
        let y = tape.between.get(layer).map_or(output, Vec::as_slice);
        let (x_rows, _) = extents.layer_rows(layer, config.num_layers);
        let dropout = call.dropout_key(layer).map(|key| (Dropout::new(config.dropout), key));
        let mut dx = zeroed("the gradient of a layer's input", &[extents.rows(), features])?;
        for direction in 0..config.directions() {
            let index = layer * config.directions() + direction;
            let pass = Pass::new(config, tape, &weights[index], layer, direction, y)?;
            let deltas = pass.through_time(&dy, &mut states)?;

            let x_row = |row: usize| {
                let (s, b) = (row / extents.batch, row % extents.batch);
                (s < call.length(b)).then(|| call.time_of(s, direction, b) * x_rows.time + b * x_rows.batch)
            };
            let gathered = gather(x, features, extents.rows(), x_row, dropout)?;
            pass.add_weight_gradients(&deltas, &gathered, &mut gradients[index]);

            // dx = Σ_d W_ihᵀ·δ
            let mut of_rows = zeroed("the gradient of a layer's input", &[extents.rows(), features])?;
            product(&mut of_rows, &deltas.gx, weights[index].weight_ih().data(), features);
            for (row, of_row) in of_rows.chunks_exact(features).enumerate() {
                let Some(row) = x_row(row) else { continue };
                for (dx, &of_row) in dx[row * features..(row + 1) * features].iter_mut().zip(of_row) {
                    *dx = *dx + of_row;
                }
            }
        }
        if let Some((dropout, key)) = dropout {
            // What was dropped is dropped, and what was scaled is scaled.
            for (element, dx) in dx.iter_mut().enumerate() {
                *dx = dropout.apply(key, *dx, element);
            }
        }
        dy = dx;
    }
    Ok(Derived { input: dy, states, weights: gradients })
}

impl<'a, F: Real> Pass<'a, F> {
    fn new(
        config: &'a RecurrentConfig,
        tape: &'a Tape<F>,
        weights: &'a LayerWeights<F>,
        layer: usize,
        direction: usize,
        y: &[F],
    ) -> Result<Self> {
        let mut before = zeroed("h before each step", &[tape.call.extents().rows(), config.recurrent_size()])?;
        h_before(config, &tape.call, (layer, direction), y, &tape.initial[0], &mut before);
        Ok(Self { config, tape, weights, layer, direction, h_before: before })
    }

    /// Walks the steps from the last to the first. `states` are the gradients with respect to the states of all layers
    /// after the last step; those of this layer and direction become the gradients before the first.
    fn through_time(&self, dy: &[F], states: &mut [Vec<F>]) -> Result<Deltas<F>> {
        let Self { config, tape, layer, direction, .. } = *self;
        let (call, extents) = (&tape.call, tape.call.extents());
        let (batch, rows, width) = (extents.batch, extents.rows(), config.recurrent_size());
        let index = layer * config.directions() + direction;
        let only = |wanted: bool, size: usize| if wanted { size } else { 0 };
        let two_products = config.cell.products().len() > 1;
        let mut deltas = Deltas {
            gx: zeroed("the gradient of gx", &[rows, config.gate_rows()])?,
            gh: zeroed("the gradient of gh", &[rows, config.gate_rows()])?,
            gated: zeroed("the operand of a step", &[rows, only(two_products, config.hidden_size)])?,
            h: zeroed("the gradient of h", &[rows, only(config.is_projected(), width)])?,
            raw: zeroed("h before its projection", &[rows, only(config.is_projected(), config.hidden_size)])?,
        };
        let mut scratch = Scratch::new(config)?;
        let (_, y_rows) = extents.layer_rows(layer, config.num_layers);
        for s in (0..extents.time_steps).rev() {
            for b in (0..batch).filter(|&b| s < call.length(b)) {
                let (row, time) = (index * batch + b, call.time_of(s, direction, b));
                let at = (time * y_rows.time + b * y_rows.batch) * config.output_size() + direction * width;
                let (dh, dc) = states.split_at_mut(1);
                // The gradient with respect to h arrives from the output and from the step after.
                let dh = &mut dh[0][row * width..(row + 1) * width];
                for (dh, &dy) in dh.iter_mut().zip(&dy[at..at + width]) {
                    *dh = *dh + dy;
                }
                let hidden = config.hidden_size;
                let dc = dc.first_mut().map(|dc| &mut dc[row * hidden..(row + 1) * hidden]);
                self.step(s, b, dh, dc, &mut deltas, &mut scratch);
            }
        }
        Ok(deltas)
    }

    /// Takes the gradients of one row's state from after a step to before it.
    fn step(
        &self,
        s: usize,
        b: usize,
        dh: &mut [F],
        mut dc: Option<&mut [F]>,
        deltas: &mut Deltas<F>,
        scratch: &mut Scratch<F>,
    ) {
        let Self { config, tape, weights, .. } = *self;
        let (hidden, width, cell) = (config.hidden_size, config.recurrent_size(), config.cell);
        let row = s * tape.call.extents().batch + b;
        let units = row * hidden..(row + 1) * hidden;
        let gates = row * config.gate_rows()..(row + 1) * config.gate_rows();
        let (gx, gh) = (&mut deltas.gx[gates.clone()], &mut deltas.gh[gates]);
        let h_before = &self.h_before[row * width..(row + 1) * width];
        let Scratch { unit, carry, operand } = scratch;

        // dm = W_hrᵀ·dh
        match weights.weight_hr() {
            None => unit.copy_from_slice(dh),
            Some(weight_hr) => {
                deltas.h[row * width..(row + 1) * width].copy_from_slice(dh);
                unit.fill(F::zero());
                add_product(unit, dh, weight_hr.data(), 0..hidden);
            }
        }
        let saved = |u: usize| self.saved(row, u);
        for u in 0..hidden {
            let (old_c, new_c) = self.c_around(s, b, u);
            let own_h = if config.is_projected() { F::zero() } else { h_before[u] };
            let old = State { h: own_h, c: old_c };
            let after = State { h: unit[u], c: dc.as_ref().map_or(F::zero(), |dc| dc[u]) };
            let of_unit = cell_backward(cell, saved(u), old, new_c, after);
            for g in 0..cell.gates() {
                (gx[g * hidden + u], gh[g * hidden + u]) = (of_unit.gx[g], of_unit.gh[g]);
            }
            carry[u] = of_unit.old.h;
            if let Some(dc) = &mut dc {
                dc[u] = of_unit.old.c;
            }
            if config.is_projected() {
                // o ⊙ tanh(c), which was projected.
                deltas.raw[units.clone()][u] = saved(u)[3] * new_c.tanh();
            }
        }
        let weight_hh = weights.weight_hh().data();
        if let [_, second] = cell.products() {
            operand.fill(F::zero());
            let rows = gate_rows(second, hidden);
            add_product(operand, &gh[rows.clone()], &weight_hh[rows.start * width..rows.end * width], 0..width);
            for u in 0..hidden {
                let (reset, h) = reset_backward(saved(u), h_before[u], operand[u]);
                (gx[u], gh[u]) = (reset, reset);
                carry[u] = carry[u] + h;
                deltas.gated[units.clone()][u] = saved(u)[0] * h_before[u];
            }
        }
        let rows = gate_rows(&cell.products()[0], hidden);
        match config.is_projected() {
            true => dh.fill(F::zero()),
            false => dh.copy_from_slice(carry),
        }
        add_product(dh, &gh[rows.clone()], &weight_hh[rows.start * width..rows.end * width], 0..width);
    }

    /// Returns what a unit saved at a step.
    fn saved(&self, row: usize, u: usize) -> [F; MAX_GATES] {
        let (hidden, count) = (self.config.hidden_size, self.config.cell.saved());
        let gates = &self.tape.saved[self.index()].gates[row * count * hidden..(row + 1) * count * hidden];
        std::array::from_fn(|n| if n < count { gates[n * hidden + u] } else { F::zero() })
    }

    /// Returns c of a unit before and after a step; zeros for a cell without c.
    fn c_around(&self, s: usize, b: usize, u: usize) -> (F, F) {
        let Some(initial) = self.tape.initial.get(1) else { return (F::zero(), F::zero()) };
        let (batch, hidden) = (self.tape.call.extents().batch, self.config.hidden_size);
        let after = |s: usize| self.tape.saved[self.index()].c[(s * batch + b) * hidden + u];
        let before = match s {
            0 => initial[(self.index() * batch + b) * hidden + u],
            _ => after(s - 1),
        };
        (before, after(s))
    }

    fn index(&self) -> usize {
        self.layer * self.config.directions() + self.direction
    }

    /// Adds the products over all steps and rows:
    ///
    /// ```text
    /// dW_ih = Σ δx ⊗ x    dW_hh = Σ δh ⊗ h    dW_hr = Σ dh ⊗ (o ⊙ tanh(c))    db_ih = Σ δx    db_hh = Σ δh
    /// ```
    fn add_weight_gradients(&self, deltas: &Deltas<F>, x: &[F], gradients: &mut LayerWeights<F>) {
        let config = self.config;
        let (rows, hidden, width) = (config.gate_rows(), config.hidden_size, config.recurrent_size());
        add_outer(gradients.weight_ih_mut().data_mut(), &deltas.gx, rows, 0..rows, x);
        for (product, gates) in config.cell.products().iter().enumerate() {
            let of_product = gate_rows(gates, hidden);
            let target = &mut gradients.weight_hh_mut().data_mut()[of_product.start * width..of_product.end * width];
            let operand = if product == 0 { &self.h_before } else { &deltas.gated };
            add_outer(target, &deltas.gh, rows, of_product, operand);
        }
        if let Some(weight_hr) = gradients.weight_hr_mut() {
            add_outer(weight_hr.data_mut(), &deltas.h, width, 0..width, &deltas.raw);
        }
        if let Some((bias_ih, bias_hh)) = gradients.bias_mut() {
            for (bias, deltas) in [(bias_ih, &deltas.gx), (bias_hh, &deltas.gh)] {
                for row in deltas.chunks_exact(rows) {
                    bias.data_mut().iter_mut().zip(row).for_each(|(bias, &delta)| *bias = *bias + delta);
                }
            }
        }
    }
}

/// The scratch arrays of a step.
struct Scratch<F> {
    /// `[H]`: the gradient with respect to h, before its projection.
    unit: Vec<F>,
    /// `[H]`: the gradient with respect to h of the step before, except through the recurrent product.
    carry: Vec<F>,
    /// `[H]`: the gradient with respect to the operand of the second product.
    operand: Vec<F>,
}

impl<F: Real> Scratch<F> {
    fn new(config: &RecurrentConfig) -> Result<Self> {
        let zeros = || zeroed("a gradient", &[config.hidden_size]);
        Ok(Self { unit: zeros()?, carry: zeros()?, operand: zeros()? })
    }
}

/// Returns the rows of a weight that belong to some gates.
fn gate_rows(gates: &Range<usize>, hidden: usize) -> Range<usize> {
    gates.start * hidden..gates.end * hidden
}

/// Adds `rows[n]·matrix` to row n of the target, which has `columns` columns like the matrix.
fn product<F: Real>(target: &mut [F], rows: &[F], matrix: &[F], columns: usize) {
    let (count, inner) = (target.len() / columns, matrix.len() / columns);
    // The shapes hold by construction, so no view can fail.
    if let (Ok(a), Ok(b), Ok(mut c)) = (
        ArrayView2::from_shape((count, inner), rows),
        ArrayView2::from_shape((inner, columns), matrix),
        ArrayViewMut2::from_shape((count, columns), target),
    ) {
        general_mat_mul(F::one(), &a, &b, F::one(), &mut c);
    }
}

/// Adds `Σ_n deltas[n][columns] ⊗ operand[n]` to the target, over all rows n of the deltas, which have `width` columns.
fn add_outer<F: Real>(target: &mut [F], deltas: &[F], width: usize, columns: Range<usize>, operand: &[F]) {
    let rows = deltas.len() / width;
    let (outputs, inputs) = (columns.len(), operand.len() / rows.max(1));
    if let (Ok(a), Ok(b), Ok(mut c)) = (
        ArrayView2::from_shape((rows, width), deltas),
        ArrayView2::from_shape((rows, inputs), operand),
        ArrayViewMut2::from_shape((outputs, inputs), target),
    ) {
        let a = a.slice_axis(Axis(1), columns.into());
        general_mat_mul(F::one(), &a.t(), &b, F::one(), &mut c);
    }
}
