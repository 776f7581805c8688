//! The plan of a forward on the CPU, in numbers and words.

use std::fmt;

use crate::config::RecurrentConfig;
use crate::extents::Extents;

/// The plan of a forward of one shape on the CPU: [`Plan::Cpu`](crate::Plan::Cpu).
///
/// The [`Display`](fmt::Display) form is for people: one line, or with `{:#}` the choices and their reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct CpuPlan {
    pub(super) config: RecurrentConfig,
    pub(super) extents: Extents,
    pub(super) instruction_set: &'static str,
    pub(super) available_threads: usize,
    pub(super) threads: usize,
    pub(super) tile_units: usize,
    pub(super) tile_rows: usize,
    pub(super) chunk_steps: usize,
    pub(super) why: &'static str,
}

impl CpuPlan {
    /// Returns the instruction set whose vectors are used: "AVX-512", "AVX2", "NEON" or "SIMD128"; or "reference path",
    /// which runs f64 and machines without vectors.
    pub fn instruction_set(&self) -> &'static str {
        self.instruction_set
    }

    /// Returns the largest number of threads that share a layer. Fewer run if another program takes the
    /// cores.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Returns the maximum number of threads.
    pub fn available_threads(&self) -> usize {
        self.available_threads
    }

    /// Returns the number of hidden units whose gates are computed at a time, each in one lane of a vector.
    pub fn tile_units(&self) -> usize {
        self.tile_units
    }

    /// Returns the number of batch rows that each read of a tile of weights serves.
    pub fn tile_rows(&self) -> usize {
        self.tile_rows
    }

    /// Returns the number of time steps whose input product is computed at a time.
    pub fn chunk_steps(&self) -> usize {
        self.chunk_steps
    }

    /// Returns the number of floating-point operations of the matrix products, counting a multiply-add as two.
    pub fn flops(&self) -> u64 {
        let (config, rows) = (&self.config, self.extents.time_steps.saturating_mul(self.extents.batch) as u64);
        let of_layer = |layer: usize| {
            let features = (config.layer_input_size(layer) as u64).saturating_add(config.recurrent_size() as u64);
            let gates = (config.gate_rows() as u64).saturating_mul(features);
            let projection = (config.hidden_size as u64).saturating_mul(config.proj_size as u64);
            gates.saturating_add(projection).saturating_mul(2 * config.directions() as u64)
        };
        (0..config.num_layers).map(of_layer).fold(0, u64::saturating_add).saturating_mul(rows)
    }
}

impl fmt::Display for CpuPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let (threads, steps) = (of(self.threads, "thread"), of(self.extents.time_steps, "step"));
        let tile = format!("{} by {}", of(self.tile_units, "unit"), of(self.tile_rows, "row"));
        if !f.alternate() {
            return write!(f, "{} on {threads}, {steps}, tiles of {tile}", self.instruction_set);
        }
        writeln!(f, "{} over T = {}, B = {}", self.config, self.extents.time_steps, self.extents.batch)?;
        writeln!(f, "  instructions   {}: {}", self.instruction_set, self.why)?;
        writeln!(f, "  threads        {} of {}", self.threads, self.available_threads)?;
        writeln!(f, "  input product  up to {} at a time", of(self.chunk_steps, "step"))?;
        writeln!(f, "  tiles          {tile}")?;
        write!(f, "  operations     {:.3} G, counting a multiply-add as two", self.flops() as f64 / 1e9)
    }
}
