//! The CPU: the reference path in f64, a fast one in f32.

mod fast;
pub(crate) mod plan;
mod reference;
pub(crate) mod session;

use std::sync::OnceLock;

use crate::call::Call;
use crate::config::RecurrentConfig;
use crate::cpu::fast::FastModel;
use crate::cpu::plan::CpuPlan;
use crate::cpu::reference::ReferenceModel;
use crate::error::Result;
use crate::extents::Extents;
use crate::real::Real;
use crate::weights::LayerWeights;

/// Returns the threads that this process may use. Asking the system costs as much as a small forward.
pub(crate) fn available_threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// A model whose weights are laid out for the CPU.
#[derive(Clone, Debug)]
pub(crate) struct CpuModel<F> {
    pub(crate) config: RecurrentConfig,
    path: Path<F>,
}

#[derive(Clone, Debug)]
enum Path<F> {
    Fast(FastModel),
    Reference(ReferenceModel<F>),
}

impl<F: Real> CpuModel<F> {
    /// `threads` are the most that a forward may use.
    pub(crate) fn new(config: &RecurrentConfig, layers: &[LayerWeights<F>], threads: usize) -> Result<Self> {
        let is_f32 = size_of::<F>() == size_of::<f32>();
        let path = if is_f32 && fast::is_supported() {
            Path::Fast(FastModel::new(config, layers, threads)?)
        } else {
            Path::Reference(ReferenceModel::new(config, layers)?)
        };
        Ok(Self { config: config.clone(), path })
    }

    /// Plans a forward of this shape.
    pub(crate) fn plan(&self, extents: &Extents) -> CpuPlan {
        match &self.path {
            Path::Reference(model) => model.plan(extents),
            Path::Fast(model) => model.plan(extents),
        }
    }

    /// Moves `states` on, h and what else the cell carries, each `[L·D, state_rows, ·]`. Gives the output, and if the call wants
    /// them the states after every step, each `[L·D, T, B, ·]`. All arrays have the sizes that the call stands for, which is
    /// not empty.
    pub(crate) fn forward(&self, call: &Call, input: &[F], states: &mut [Vec<F>]) -> Result<(Vec<F>, Vec<Vec<F>>)> {
        match &self.path {
            Path::Reference(model) => model.forward(call, input, states),
            // F is f32 there, so that these casts change the name of the type alone.
            Path::Fast(model) => {
                let mut of_f32: Vec<Vec<f32>> = states.iter_mut().map(|state| renamed(std::mem::take(state))).collect();
                let result = model.forward(call, bytemuck::cast_slice(input), &mut of_f32);
                for (state, of_f32) in states.iter_mut().zip(of_f32) {
                    *state = renamed(of_f32);
                }
                result.map(|(output, all)| (renamed(output), all.into_iter().map(renamed).collect()))
            }
        }
    }
}

/// The same numbers as those of a type of the same size.
fn renamed<F: Real, G: Real>(array: Vec<F>) -> Vec<G> {
    bytemuck::allocation::cast_vec(array)
}
