//! Training on the vector path: the forward that leaves a tape, and the backward, layer by layer from the last.
//!
//! What depends on the step before runs through time first; the gradients of the weights and of the input are then
//! products over all steps and rows. Threads share their outputs and never a sum, so bits do not depend on threads.

use std::ops::Range;
use std::time::Duration;

use super::backward::{Member, Pass, Transposed, Worker};
use super::deltas::{Deltas, gates, place_in_gx};
use super::exchange::{self, Exchange};
use super::gradients::Source;
use super::pack::Packed;
use super::{FLOPS_OF_A_NANOSECOND, FastModel, FastTape};
use crate::call::Call;
use crate::cpu::rows::h_before;
use crate::dropout::Dropout;
use crate::error::Result;
use crate::gradients::{Derived, Given, zero_weights};
use crate::memory::zeroed;
use crate::real::Real;
use crate::weights::LayerWeights;

/// The batch rows below which a thread of its own for them reads the weights of every step for too few products.
const ROWS_OF_A_THREAD: usize = 8;

impl FastModel {
    /// Runs a forward that leaves a tape for its backward, and returns its output.
    pub(crate) fn forward_train(
        &self,
        call: &Call,
        input: &[f32],
        states: &mut [Vec<f32>],
    ) -> Result<(Vec<f32>, FastTape)> {
        let mut tape = FastTape::new(&self.pool, call, input, states)?;
        let (output, _) = self.forward_with(call, input, states, Some(&mut tape))?;
        Ok((output, tape))
    }

    /// Runs the backward of a forward that gave `output`. `weights` are those of the model.
    pub(crate) fn backward<F: Real>(
        &self,
        weights: &[LayerWeights<F>],
        tape: FastTape,
        output: &[f32],
        given: &Given<'_, f32>,
    ) -> Result<Derived<F>> {
        let (config, call, extents) = (&self.config, &tape.call, tape.call.extents());
        let directions = config.directions();
        let transposed = self.transposed(weights)?;
        let mut gradients = zero_weights::<F>(config)?;
        let mut states = given.states_or_zeros(config, call)?;
        let zeros = match given.output {
            Some(_) => Vec::new(),
            None => zeroed("the gradient of the output", &[extents.rows(), config.output_size()])?,
        };
        let mut dy: Option<Vec<f32>> = None;
        for layer in (0..config.num_layers).rev() {
            let features = config.layer_input_size(layer);
            let x = if layer == 0 { &tape.input } else { &tape.between[layer - 1] };
            let y = tape.between.get(layer).map_or(output, Vec::as_slice);
            let (x_rows, y_rows) = extents.layer_rows(layer, config.num_layers);
            let dropout = call.dropout_key(layer).map(|key| (Dropout::new(config.dropout), key));
            let before = |direction| {
                let mut h = self.pool.take("h before each step", &[extents.rows(), config.recurrent_size()])?;
                h_before(config, call, (layer, direction), y, &tape.initial[0], &mut h);
                Ok(h)
            };
            let h_before = (0..directions).map(before).collect::<Result<Vec<_>>>()?;
            let pass = Pass {
                arch: self.arch,
                config,
                tape: &tape,
                layer,
                transposed: &transposed[layer * directions..(layer + 1) * directions],
                h_before: &h_before,
                dy: dy.as_deref().or(given.output).unwrap_or(&zeros),
                y_rows,
            };
            let mut deltas =
                (0..directions).map(|_| Deltas::new(&self.pool, config, extents)).collect::<Result<Vec<_>>>()?;
            if !self.through_time(&pass, &mut deltas, &mut states, self.threads)? {
                self.through_time(&pass, &mut deltas, &mut states, 1)?;
            }
            let mut dx = zeroed("the gradient of a layer's input", &[extents.rows(), features])?;
            for (direction, deltas) in deltas.iter().enumerate() {
                let source = Source { direction, x, x_rows, dropout, h_before: &h_before[direction], deltas };
                let target = &mut gradients[layer * directions + direction];
                self.add_gradients(call, &source, &pass.transposed[direction].ih, target, &mut dx)?;
            }
            if let Some((dropout, key)) = dropout {
                // What was dropped is dropped, and what was scaled is scaled.
                for (element, dx) in dx.iter_mut().enumerate() {
                    *dx = dropout.apply(key, *dx, element);
                }
            }
            dy = Some(dx);
            deltas.into_iter().for_each(|deltas| deltas.give_back(&self.pool));
            self.pool.give(h_before);
        }
        tape.give_back(&self.pool);
        let states = states.into_iter().map(bytemuck::allocation::cast_vec).collect();
        Ok(Derived { input: bytemuck::allocation::cast_vec(dy.unwrap_or_default()), states, weights: gradients })
    }

    /// Returns the transposed weights, packed by the first backward.
    fn transposed<F: Real>(&self, weights: &[LayerWeights<F>]) -> Result<&[Transposed]> {
        if let Some(transposed) = self.transposed.get() {
            return Ok(transposed);
        }
        let hidden = self.config.hidden_size;
        let cell = self.config.cell;
        let mut of_gx: Vec<usize> = (0..cell.gates()).collect();
        of_gx.sort_by_key(|&gate| place_in_gx(cell, gate));
        let of_layer = |weights: &LayerWeights<F>| {
            let pack = |weight, gates: &[usize], size| Packed::transposed(weight, gates, size, self.lanes);
            let hh = |gates: &Range<usize>| pack(weights.weight_hh(), &gates.clone().collect::<Vec<_>>(), hidden);
            let hr = weights.weight_hr().map(|hr| pack(hr, &[0], self.config.recurrent_size()));
            Ok(Transposed {
                hh: cell.products().iter().map(hh).collect::<Result<_>>()?,
                hr: hr.transpose()?,
                ih: pack(weights.weight_ih(), &of_gx, hidden)?,
            })
        };
        let packed = weights.iter().map(of_layer).collect::<Result<_>>()?;
        Ok(self.transposed.get_or_init(|| packed))
    }

    /// Runs a layer through time on at most `threads` threads, which leaves the gradients of every step and, in
    /// `states`, those of the initial states. Returns false, with `states` unchanged, where [`FastModel::run`] returns
    /// `None`.
    fn through_time(
        &self,
        pass: &Pass<'_>,
        deltas: &mut [Deltas],
        states: &mut [Vec<f32>],
        threads: usize,
    ) -> Result<bool> {
        let (directions, extents) = (self.config.directions(), pass.tape.call.extents());
        let (batch, tiles) = (extents.batch, self.config.hidden_size.div_ceil(self.lanes));
        let mut team = self.team(pass.layer, extents, threads);
        // Threads with rows of their own need nothing of each other.
        let by_rows = (team.threads / directions).clamp(1, (batch / ROWS_OF_A_THREAD).max(1));
        let by_units = if by_rows >= team.members { 1 } else { team.members };
        let by_units = if by_units > 1 && exchange::take_turn_alone() { 1 } else { by_units };
        let by_rows = if by_units > 1 { 1 } else { by_rows };
        team.members = by_rows * by_units;
        let size = batch * gates(self.config.cell) * self.config.hidden_size;
        let patience = self.layer_flops(pass.layer, extents) / directions as u64 / FLOPS_OF_A_NANOSECOND;
        let exchanges = (0..directions).map(|_| Exchange::new(by_units, size, Duration::from_nanos(patience)));
        let exchanges = exchanges.collect::<Result<Vec<_>>>()?;
        let shares = |all: usize, count: usize| (0..count).map(move |n| all * n / count..all * (n + 1) / count);
        let rows: Vec<Range<usize>> = shares(batch, by_rows).collect();
        let mut members = Vec::with_capacity(directions * team.members);
        for (direction, deltas) in deltas.iter_mut().enumerate() {
            for (target, rows) in deltas.cut(extents.time_steps, &rows)?.into_iter().zip(&rows) {
                let mut target = Some(target);
                for tiles in shares(tiles, by_units) {
                    let share = (rows.clone(), tiles);
                    members.push(Member::new(pass, direction, share, self.lanes, target.take(), states)?);
                }
            }
        }
        let complete = match team.together(directions) {
            1 => {
                members.iter_mut().for_each(|member| work(pass, member, &exchanges[member.direction]));
                true
            }
            _ => std::thread::scope(|scope| {
                let Some((own, others)) = members.split_first_mut() else { return true };
                for member in others {
                    let exchange = &exchanges[member.direction];
                    let thread = std::thread::Builder::new().name("wgpu-rnn".to_owned());
                    if thread.spawn_scoped(scope, move || work(pass, member, exchange)).is_err() {
                        exchanges.iter().for_each(Exchange::leave);
                        return false;
                    }
                }
                work(pass, own, &exchanges[own.direction]);
                true
            }),
        };
        if !complete || exchanges.iter().any(Exchange::is_broken) {
            return Ok(false);
        }
        let width = self.config.recurrent_size();
        for member in &members {
            let index = pass.layer * directions + member.direction;
            let sizes =
                [(width, member.own(width), &member.dh), (self.config.hidden_size, member.units.clone(), &member.dc)];
            for (state, (size, own, last)) in states.iter_mut().zip(sizes) {
                let stride = last.len() / member.rows.len();
                for (b, last) in member.rows.clone().zip(last.chunks_exact(stride)) {
                    let at = (index * batch + b) * size;
                    state[at + own.start..at + own.end].copy_from_slice(&last[..own.len()]);
                }
            }
        }
        Ok(true)
    }
}

/// Runs a worker with the vectors of the model and the gates of its cell.
fn work<'a>(pass: &Pass<'a>, member: &mut Member<'a>, exchange: &Exchange) {
    match pass.config.cell.gates() {
        4 => pass.arch.dispatch(Worker::<4> { pass, member, exchange }),
        3 => pass.arch.dispatch(Worker::<3> { pass, member, exchange }),
        _ => pass.arch.dispatch(Worker::<1> { pass, member, exchange }),
    }
}
