//! Training on the vector path: the forward that leaves a tape, and the backward, layer by layer from the last.
//!
//! What depends on the step before runs through time first; the gradients of the weights and of the input are then
//! products over all steps and rows. Threads share their outputs and never a sum, so bits do not depend on threads.

use std::ops::Range;
use std::time::Duration;

use super::backward::{Member, Pass, Transposed, Worker};
use super::exchange::{self, Exchange};
use super::gradients::{Deltas, Source};
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

impl FastModel {
    /// Runs a forward that leaves a tape for its backward, and returns its output.
    pub(crate) fn forward_train(
        &self,
        call: &Call,
        input: &[f32],
        states: &mut [Vec<f32>],
    ) -> Result<(Vec<f32>, FastTape)> {
        let mut tape = FastTape::new(call, input, states)?;
        let (output, _) = self.forward_with(call, input, states, Some(&mut tape))?;
        Ok((output, tape))
    }

    /// Runs the backward of a forward that gave `output`. `weights` are those of the model.
    pub(crate) fn backward<F: Real>(
        &self,
        weights: &[LayerWeights<F>],
        tape: &FastTape,
        output: &[f32],
        given: &Given<'_, f32>,
    ) -> Result<Derived<F>> {
        let (config, call, extents) = (&self.config, &tape.call, tape.call.extents());
        let directions = config.directions();
        let transposed = self.transposed(weights)?;
        let mut gradients = zero_weights::<F>(config)?;
        let mut states = given.states_or_zeros(config, call)?;
        let mut dy = given.output_or_zeros(config, call)?;
        for layer in (0..config.num_layers).rev() {
            let features = config.layer_input_size(layer);
            let x = if layer == 0 { &tape.input } else { &tape.between[layer - 1] };
            let y = tape.between.get(layer).map_or(output, Vec::as_slice);
            let (x_rows, y_rows) = extents.layer_rows(layer, config.num_layers);
            let dropout = call.dropout_key(layer).map(|key| (Dropout::new(config.dropout), key));
            let before = |direction| h_before(config, call, (layer, direction), y, &tape.initial[0]);
            let h_before = (0..directions).map(before).collect::<Result<Vec<_>>>()?;
            let pass = Pass {
                arch: self.arch,
                config,
                tape,
                layer,
                transposed: &transposed[layer * directions..(layer + 1) * directions],
                h_before: &h_before,
                dy: &dy,
                y_rows,
            };
            let members = match self.through_time(&pass, &states, self.threads)? {
                Some(members) => members,
                None => self.through_time(&pass, &states, 1)?.unwrap_or_default(),
            };
            let deltas = self.merge(&pass, members, &mut states)?;
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
            dy = dx;
        }
        let states = states.into_iter().map(bytemuck::allocation::cast_vec).collect();
        Ok(Derived { input: bytemuck::allocation::cast_vec(dy), states, weights: gradients })
    }

    /// Returns the transposed weights, packed by the first backward.
    fn transposed<F: Real>(&self, weights: &[LayerWeights<F>]) -> Result<&[Transposed]> {
        if let Some(transposed) = self.transposed.get() {
            return Ok(transposed);
        }
        let hidden = self.config.hidden_size;
        let of_layer = |weights: &LayerWeights<F>| {
            let hh = |gates: &Range<usize>| {
                Packed::transposed(weights.weight_hh(), gates.start * hidden..gates.end * hidden, self.lanes)
            };
            let hr = weights.weight_hr().map(|hr| Packed::transposed(hr, 0..self.config.recurrent_size(), self.lanes));
            Ok(Transposed {
                hh: self.config.cell.products().iter().map(hh).collect::<Result<_>>()?,
                hr: hr.transpose()?,
                ih: Packed::transposed(weights.weight_ih(), 0..self.config.gate_rows(), self.lanes)?,
            })
        };
        let packed = weights.iter().map(of_layer).collect::<Result<_>>()?;
        Ok(self.transposed.get_or_init(|| packed))
    }

    /// Runs a layer through time on at most `threads` threads. Returns `None` like [`FastModel::run`].
    fn through_time<'a>(
        &self,
        pass: &Pass<'a>,
        states: &[Vec<f32>],
        threads: usize,
    ) -> Result<Option<Vec<Member<'a>>>> {
        let (directions, extents) = (self.config.directions(), pass.tape.call.extents());
        let tiles = self.config.hidden_size.div_ceil(self.lanes);
        let mut team = self.team(pass.layer, extents, threads);
        if team.members > 1 && exchange::take_turn_alone() {
            team.members = 1;
        }
        let count = team.members;
        let nanoseconds = self.layer_flops(pass.layer, extents) / directions as u64 / FLOPS_OF_A_NANOSECOND;
        let (mut members, mut exchanges) = (Vec::with_capacity(directions * count), Vec::with_capacity(directions));
        for direction in 0..directions {
            for member in 0..count {
                let share = tiles * member / count..tiles * (member + 1) / count;
                members.push(Member::new(pass, direction, share, self.lanes, count > 1, states)?);
            }
            let size = extents.batch * self.config.gate_rows();
            exchanges.push(Exchange::new(count, size, Duration::from_nanos(nanoseconds))?);
        }
        if team.together(directions) == 1 {
            members.iter_mut().for_each(|member| work(pass, member, &exchanges[member.direction]));
            return Ok(Some(members));
        }
        let complete = std::thread::scope(|scope| {
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
        });
        Ok((complete && !exchanges.iter().any(Exchange::is_broken)).then_some(members))
    }

    /// Joins what the workers of each direction computed, and stores the gradients of the initial states.
    fn merge(&self, pass: &Pass<'_>, members: Vec<Member<'_>>, states: &mut [Vec<f32>]) -> Result<Vec<Deltas>> {
        let (config, extents) = (&self.config, pass.tape.call.extents());
        let (batch, hidden, width) = (extents.batch, config.hidden_size, config.recurrent_size());
        let zeros = || zeroed("the gradients of a layer", &[extents.rows(), config.gate_rows()]);
        let mut all: Vec<Deltas> = Vec::with_capacity(config.directions());
        for mut member in members {
            let index = pass.layer * config.directions() + member.direction;
            let sizes = [(width, member.own(width), &member.dh), (hidden, member.units.clone(), &member.dc)];
            for (state, (size, own, last)) in states.iter_mut().zip(sizes) {
                let stride = last.len() / batch;
                for b in 0..batch {
                    let at = (index * batch + b) * size;
                    let last = &last[b * stride..b * stride + own.len()];
                    state[at + own.start..at + own.end].copy_from_slice(last);
                }
            }
            let differs = !std::ptr::eq(member.gh(), &*member.gx);
            let units = member.units.clone();
            if all.len() == member.direction {
                let (operand, projected) = (std::mem::take(&mut member.operand), std::mem::take(&mut member.projected));
                let gh = if differs { Some(zeros()?) } else { None };
                if units.len() == hidden {
                    let gh = differs.then(|| member.take_gh());
                    all.push(Deltas { gx: member.gx, gh, operand, projected });
                    continue;
                }
                all.push(Deltas { gx: zeros()?, gh, operand, projected });
            }
            let Some(deltas) = all.last_mut() else { continue };
            let pairs = [(Some(&mut deltas.gx), &*member.gx), (deltas.gh.as_mut(), member.gh())];
            for (to, from) in pairs {
                let Some(to) = to else { continue };
                for (to, from) in to.chunks_exact_mut(hidden).zip(from.chunks_exact(units.len())) {
                    to[units.clone()].copy_from_slice(from);
                }
            }
        }
        Ok(all)
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
