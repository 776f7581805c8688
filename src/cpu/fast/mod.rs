//! The CPU path that users run: f32, packed weights, SIMD vectors, and threads where they pay off. It is tested against
//! the reference path.
//!
//! The stages are those of the GPU: for each chunk of steps, the input product, then step by step the recurrent product
//! fused with the cell, tile by tile of units while the sums are in registers. Threads share a layer by direction and
//! by units, and exchange h after each step.

mod activation;
mod backward;
mod cell;
mod cell_backward;
mod deltas;
mod exchange;
mod gradients;
mod outer;
mod pack;
mod part;
mod pool;
mod product;
mod tape;
mod train;
mod worker;

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::OnceLock;
use std::time::Duration;

use pulp::{Arch, Simd, WithSimd};

use crate::call::Call;
use crate::cell_kind::{CellKind, Nonlinearity};
use crate::config::RecurrentConfig;
use crate::cpu::fast::backward::Transposed;
use crate::cpu::fast::cell::Cell;
use crate::cpu::fast::exchange::Exchange;
use crate::cpu::fast::pack::Packed;
use crate::cpu::fast::part::Part;
use crate::cpu::fast::pool::Pool;
use crate::cpu::fast::product::{rows_at_a_time, tiles_at_a_time};
pub(crate) use crate::cpu::fast::tape::FastTape;
use crate::cpu::fast::worker::Worker;
use crate::cpu::plan::CpuPlan;
use crate::dropout::{Dropout, Key};
use crate::error::Result;
use crate::extents::{Extents, RowStride};
use crate::memory::zeroed;
use crate::real::Real;
use crate::weights::LayerWeights;

/// The operations below which one thread finishes a step in less time than two threads need to meet: a few
/// microseconds.
const STEP_FLOPS_OF_A_THREAD: u64 = 200_000;
/// The operations of a layer below which it is done before a second thread has started.
const LAYER_FLOPS_OF_A_THREAD: u64 = 4_000_000;

/// The approximate speed of a thread in operations per nanosecond.
const FLOPS_OF_A_NANOSECOND: u64 = 30;

/// The largest gx of a chunk: small enough to be still in the cache when it is read, yet large enough that each read of
/// the weights serves hundreds of rows.
const GX_BYTES: usize = 1 << 20;

/// A model whose weights are packed for vectors.
#[derive(Debug)]
pub(crate) struct FastModel {
    config: RecurrentConfig,
    /// Index: layer·D + direction.
    layers: Vec<DirectionWeights>,
    arch: Arch,
    /// The number of lanes of its vectors.
    lanes: usize,
    /// The maximum number of threads of a forward.
    threads: usize,
    /// What the backward multiplies by, packed when the first one runs.
    transposed: OnceLock<Vec<Transposed>>,
    pool: Pool,
}

#[derive(Clone, Debug)]
struct DirectionWeights {
    ih: Packed,
    /// One per product of a step.
    hh: Vec<Packed>,
    hr: Option<Packed>,
}

/// One layer of a forward.
struct Pass<'a> {
    arch: Arch,
    config: &'a RecurrentConfig,
    call: &'a Call,
    layer: usize,
    x: &'a [f32],
    x_rows: RowStride,
    chunk_steps: usize,
    dropout: Option<(Dropout, Key)>,
    /// If a backward follows, which needs what the cell computes, where the arrays for it come from.
    kept_in: Option<&'a Pool>,
    /// One for each direction.
    weights: &'a [DirectionWeights],
}

/// Returns the number of lanes of an instruction set's vectors.
struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// Counts the rows that are processed together in a step with `tiles` tiles of `gates` gates.
struct TileRows {
    rows: usize,
    gates: usize,
    tiles: usize,
}

impl WithSimd for TileRows {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        rows_at_a_time::<S>(self.rows, self.gates, self.tiles)
    }
}

/// The threads of a layer.
struct Team {
    /// As many threads as pay off.
    threads: usize,
    /// The threads that share one direction by units.
    members: usize,
}

/// Returns the name of the instruction set whose vectors of f32 have `lanes` lanes.
fn instruction_set(lanes: usize) -> &'static str {
    match lanes {
        16 if cfg!(any(target_arch = "x86_64", target_arch = "x86")) => "AVX-512",
        8 if cfg!(any(target_arch = "x86_64", target_arch = "x86")) => "AVX2",
        4 if cfg!(target_arch = "aarch64") => "NEON",
        4 if cfg!(target_arch = "wasm32") => "SIMD128",
        _ => "vectors",
    }
}

/// Returns true if this machine has vectors wide enough: without them, the reference path is as fast.
pub(crate) fn is_supported() -> bool {
    Arch::new().dispatch(Lanes) >= 4
}

impl Team {
    /// Returns the number of threads that run: one per member and direction if that many are available, otherwise one.
    fn together(&self, directions: usize) -> usize {
        let wanted = directions * self.members;
        if self.threads >= wanted { wanted } else { 1 }
    }
}

impl FastModel {
    /// Packs a model. A forward uses at most `threads` threads.
    pub(crate) fn new<F: Real>(config: &RecurrentConfig, layers: &[LayerWeights<F>], threads: usize) -> Result<Self> {
        Self::on(Arch::new(), config, layers, threads)
    }

    /// Packs a model for the vectors of `arch`.
    fn on<F: Real>(arch: Arch, config: &RecurrentConfig, layers: &[LayerWeights<F>], threads: usize) -> Result<Self> {
        let (gates, lanes) = (config.cell.gates(), arch.dispatch(Lanes));
        let pack = |weights: &LayerWeights<F>| {
            let hh = |own: &Range<usize>| {
                Packed::of_gates(weights.weight_hh(), weights.bias_hh(), gates, own.clone(), lanes)
            };
            Ok(DirectionWeights {
                ih: Packed::new(weights.weight_ih(), weights.bias_ih(), gates, lanes)?,
                hh: config.cell.products().iter().map(hh).collect::<Result<_>>()?,
                hr: weights.weight_hr().map(|weight| Packed::new(weight, None, 1, lanes)).transpose()?,
            })
        };
        let layers = layers.iter().map(pack).collect::<Result<_>>()?;
        Ok(Self {
            config: config.clone(),
            layers,
            arch,
            lanes,
            threads,
            transposed: OnceLock::new(),
            pool: Pool::default(),
        })
    }

    /// Plans a forward of this shape.
    pub(crate) fn plan(&self, extents: &Extents) -> CpuPlan {
        let (config, available) = (&self.config, self.threads);
        let threads_of = |layer| self.team(layer, extents, available).together(config.directions());
        // The product that yields the most gates.
        let gates = config.cell.products().iter().map(Range::len).max().unwrap_or(1);
        let rows = extents.batch.max(1);
        let tiles = tiles_at_a_time(gates, rows, config.hidden_size.div_ceil(self.lanes));
        CpuPlan {
            config: config.clone(),
            extents: *extents,
            instruction_set: instruction_set(self.lanes),
            available_threads: available,
            threads: (0..config.num_layers).map(threads_of).max().unwrap_or(1),
            tile_units: tiles * self.lanes,
            tile_rows: self.arch.dispatch(TileRows { rows, gates, tiles }),
            chunk_steps: self.chunk_steps(extents),
            why: "the widest vectors that this machine has",
        }
    }

    fn chunk_steps(&self, extents: &Extents) -> usize {
        let step_bytes = extents.batch.saturating_mul(self.config.gate_rows() * size_of::<f32>()).max(1);
        (GX_BYTES / step_bytes).clamp(1, extents.time_steps.max(1))
    }

    /// Runs a forward, as [`CpuModel::forward`](super::CpuModel::forward) specifies.
    pub(crate) fn forward(
        &self,
        call: &Call,
        input: &[f32],
        states: &mut [Vec<f32>],
    ) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
        self.forward_with(call, input, states, None)
    }

    /// Takes over what another model of the same configuration keeps for later passes.
    pub(crate) fn succeed(&self, other: &Self) {
        self.pool.succeed(&other.pool);
    }

    fn forward_with(
        &self,
        call: &Call,
        input: &[f32],
        states: &mut [Vec<f32>],
        mut tape: Option<&mut FastTape>,
    ) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
        let (config, extents) = (&self.config, call.extents());
        let (directions, width) = (config.directions(), config.recurrent_size());
        let wanted = if call.task.all_states { states.len() } else { 0 };
        let mut all = (0..wanted).map(|s| call.padded_states(config, s)).collect::<Result<Vec<Vec<f32>>>>()?;
        let mut x: Option<Vec<f32>> = None;
        for layer in 0..config.num_layers {
            let (x_rows, y_rows) = extents.layer_rows(layer, config.num_layers);
            let pass = Pass {
                arch: self.arch,
                config,
                call,
                layer,
                x: x.as_deref().unwrap_or(input),
                x_rows,
                chunk_steps: self.chunk_steps(extents),
                dropout: call.dropout_key(layer).map(|key| (Dropout::new(config.dropout), key)),
                kept_in: tape.as_ref().map(|_| &self.pool),
                weights: &self.layers[layer * directions..(layer + 1) * directions],
            };
            // If a thread cannot be spawned, or another program uses its core, one thread does all the work.
            let mut parts = match self.run(&pass, states, self.threads)? {
                Some(parts) => parts,
                None => self.run(&pass, states, 1)?.unwrap_or_default(),
            };
            let mut y = zeroed("the output of a layer", &[extents.rows(), config.output_size()])?;
            for part in &parts {
                let index = layer * directions + part.direction;
                let own = part.units(width);
                let part_width = part.h.len() / extents.batch;
                for (row, part_y) in part.y.chunks_exact(part_width).enumerate() {
                    let (time, b) = (row / extents.batch, row % extents.batch);
                    let at = (time * y_rows.time + b * y_rows.batch) * config.output_size() + part.direction * width;
                    y[at + own.start..at + own.end].copy_from_slice(&part_y[..own.len()]);
                }
                store_states(config, call, index, part, states, &mut all);
            }
            let below = x.replace(y);
            if let Some(tape) = &mut tape {
                self.pool.give(parts.iter_mut().map(|part| std::mem::take(&mut part.y)));
                tape.layers.push(parts);
                tape.between.extend(below);
            }
        }
        Ok((x.unwrap_or_default(), all))
    }

    /// Returns the number of operations of a layer.
    fn layer_flops(&self, layer: usize, extents: &Extents) -> u64 {
        let features = self.config.recurrent_size() + self.config.layer_input_size(layer);
        let of_row = (2 * self.config.directions() * self.config.gate_rows() * features) as u64;
        of_row.saturating_mul(extents.time_steps.saturating_mul(extents.batch) as u64)
    }

    /// Returns the team for a layer: at most `threads` threads, as many as pay off.
    fn team(&self, layer: usize, extents: &Extents, threads: usize) -> Team {
        let of_step = 2 * (self.config.gate_rows() * self.config.recurrent_size()) as u64;
        let of_step = of_step.saturating_mul(extents.batch as u64);
        let worth = self.layer_flops(layer, extents) / LAYER_FLOPS_OF_A_THREAD;
        let threads = threads.min(usize::try_from(worth).unwrap_or(usize::MAX)).max(1);
        // A projection needs all units of a row, and so does a second product, which would require another exchange in
        // every step.
        let meets_once = !self.config.is_projected() && self.config.cell.products().len() == 1;
        let by_units = if meets_once { (of_step / STEP_FLOPS_OF_A_THREAD).max(1) as usize } else { 1 };
        let tiles = self.config.hidden_size.div_ceil(self.lanes);
        Team { threads, members: (threads / self.config.directions()).clamp(1, by_units.min(tiles)) }
    }

    /// Runs a layer on at most `threads` threads. Returns `None` if the system does not spawn them or one of them keeps
    /// the others waiting too long.
    fn run(&self, pass: &Pass<'_>, states: &[Vec<f32>], threads: usize) -> Result<Option<Vec<Part>>> {
        let (directions, extents) = (self.config.directions(), pass.call.extents());
        let (of_layer, tiles) = (self.layer_flops(pass.layer, extents), self.config.hidden_size.div_ceil(self.lanes));
        let mut team = self.team(pass.layer, extents, threads);
        if team.members > 1 && exchange::take_turn_alone() {
            team.members = 1;
        }
        let members = team.members;
        let together = team.together(directions) > 1;

        let mut parts = Vec::with_capacity(directions * members);
        let mut exchanges = Vec::with_capacity(directions);
        for direction in 0..directions {
            let index = pass.layer * directions + direction;
            let of_direction = |state: &Vec<f32>| {
                let size = state.len() / self.config.layers_and_directions();
                index * size..(index + 1) * size
            };
            let states: Vec<&[f32]> = states.iter().map(|state| &state[of_direction(state)]).collect();
            for member in 0..members {
                let share = tiles * member / members..tiles * (member + 1) / members;
                parts.push(Part::new(pass, direction, share, self.lanes, &states)?);
            }
            let work = Duration::from_nanos(of_layer / directions as u64 / FLOPS_OF_A_NANOSECOND);
            exchanges.push(Exchange::new(members, extents.batch * self.config.recurrent_size(), work)?);
        }
        if !together {
            parts.iter_mut().for_each(|part| work(pass, part, &exchanges[part.direction]));
            return Ok(Some(parts));
        }
        let complete = std::thread::scope(|scope| {
            let Some((own, others)) = parts.split_first_mut() else { return true };
            for part in others {
                let exchange = &exchanges[part.direction];
                let thread = std::thread::Builder::new().name("wgpu-rnn".to_owned());
                if thread.spawn_scoped(scope, move || work(pass, part, exchange)).is_err() {
                    exchanges.iter().for_each(Exchange::leave);
                    return false;
                }
            }
            work(pass, own, &exchanges[own.direction]);
            true
        });
        Ok((complete && !exchanges.iter().any(Exchange::is_broken)).then_some(parts))
    }
}

/// Runs a part with the vectors of the model and the cell of its layer.
fn work(pass: &Pass<'_>, part: &mut Part, exchange: &Exchange) {
    fn with<C: Cell<G>, const G: usize>(pass: &Pass<'_>, part: &mut Part, exchange: &Exchange) {
        pass.arch.dispatch(Worker { pass, part, exchange, cell: PhantomData::<C> });
    }
    match pass.config.cell {
        CellKind::Lstm => with::<cell::Lstm, 4>(pass, part, exchange),
        CellKind::Gru => with::<cell::Gru, 3>(pass, part, exchange),
        CellKind::GruResetBefore => with::<cell::GruResetBefore, 3>(pass, part, exchange),
        CellKind::Rnn(Nonlinearity::Tanh) => with::<cell::RnnTanh, 1>(pass, part, exchange),
        CellKind::Rnn(Nonlinearity::Relu) => with::<cell::RnnRelu, 1>(pass, part, exchange),
    }
}

/// Stores a part's last states and, if wanted, those of every step in the arrays of the whole layer.
fn store_states(
    config: &RecurrentConfig,
    call: &Call,
    index: usize,
    part: &Part,
    states: &mut [Vec<f32>],
    all: &mut [Vec<f32>],
) {
    let extents = call.extents();
    for (s, (last, every)) in [(&part.h, Some(&part.y)), (&part.c, part.all_c.as_ref())].into_iter().enumerate() {
        let Some(state) = states.get_mut(s) else { continue };
        let (size, width) = (config.state_size(s), last.len() / extents.batch);
        let own = part.units(size);
        for b in 0..extents.batch {
            let at = (index * call.task.state_arrays.rows + call.state_row(b)) * size;
            state[at + own.start..at + own.end].copy_from_slice(&last[b * width..b * width + own.len()]);
        }
        let (Some(target), Some(every)) = (all.get_mut(s), every) else { continue };
        for b in 0..extents.batch {
            for row in (0..call.length(b)).map(|time| time * extents.batch + b) {
                let at = (index * extents.rows() + row) * size;
                target[at + own.start..at + own.end].copy_from_slice(&every[row * width..row * width + own.len()]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
