//! The CPU paths: a reference path, used for f64, and a fast path in f32.

mod fast;
pub(crate) mod plan;
mod reference;
mod rows;
pub(crate) mod session;

use std::sync::OnceLock;

use crate::call::Call;
use crate::config::RecurrentConfig;
use crate::cpu::fast::{FastModel, FastTape};
use crate::cpu::plan::CpuPlan;
use crate::cpu::reference::ReferenceModel;
use crate::cpu::reference::Tape as ReferenceTape;
use crate::error::{Error, Result};
use crate::extents::Extents;
use crate::gradients::{Derived, Given};
use crate::real::Real;
use crate::weights::LayerWeights;

/// Returns the number of threads that this process may use. Asking the system takes as long as a small forward, so the
/// answer is cached.
pub(crate) fn available_threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// A model whose weights are laid out for the CPU.
#[derive(Debug)]
pub(crate) struct CpuModel<F> {
    pub(crate) config: RecurrentConfig,
    path: Path<F>,
}

#[derive(Debug)]
enum Path<F> {
    Fast(FastModel),
    Reference(ReferenceModel<F>),
}

/// What a forward leaves for its backward.
#[derive(Debug)]
pub(crate) enum Tape<F> {
    Fast(FastTape),
    Reference(ReferenceTape<F>),
}

impl<F> Tape<F> {
    pub(crate) fn call(&self) -> &Call {
        match self {
            Self::Fast(tape) => &tape.call,
            Self::Reference(tape) => &tape.call,
        }
    }
}

impl<F: Real> CpuModel<F> {
    /// Prepares a model. A forward uses at most `threads` threads.
    pub(crate) fn new(config: &RecurrentConfig, layers: &[LayerWeights<F>], threads: usize) -> Result<Self> {
        let is_f32 = size_of::<F>() == size_of::<f32>();
        let path = if is_f32 && fast::is_supported() && config.form.is_plain() {
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

    /// Takes over what another model of the same configuration keeps for later passes.
    pub(crate) fn succeed(&self, other: &Self) {
        if let (Path::Fast(own), Path::Fast(other)) = (&self.path, &other.path) {
            own.succeed(other);
        }
    }

    /// Runs a forward like [`forward`](Self::forward), which leaves a tape for its backward, and returns its output.
    pub(crate) fn forward_train(&self, call: &Call, input: &[F], states: &mut [Vec<F>]) -> Result<(Vec<F>, Tape<F>)> {
        match &self.path {
            Path::Reference(model) => {
                let (output, tape) = model.forward_train(call, input, states)?;
                Ok((output, Tape::Reference(tape)))
            }
            Path::Fast(model) => {
                let (output, tape) =
                    in_f32(states, |of_f32| model.forward_train(call, bytemuck::cast_slice(input), of_f32))?;
                Ok((renamed(output), Tape::Fast(tape)))
            }
        }
    }

    /// Runs the backward of a forward that gave `output`. `weights` are those of the model.
    pub(crate) fn backward(
        &self,
        weights: &[LayerWeights<F>],
        tape: Tape<F>,
        output: &[F],
        given: &Given<'_, F>,
    ) -> Result<Derived<F>> {
        match (tape, &self.path) {
            (Tape::Fast(tape), Path::Fast(model)) => {
                let states: Option<Vec<&[f32]>> =
                    given.states.map(|states| states.iter().map(|state| bytemuck::cast_slice(state)).collect());
                let given = Given { output: given.output.map(bytemuck::cast_slice), states: states.as_deref() };
                model.backward(weights, tape, bytemuck::cast_slice(output), &given)
            }
            (Tape::Reference(tape), _) => ReferenceModel::backward(&self.config, weights, &tape, output, given),
            (Tape::Fast(_), Path::Reference(_)) => Err(Error::Unsupported {
                what: "the backward of another model's forward".to_owned(),
                why: "what it kept is laid out for other instructions".to_owned(),
            }),
        }
    }

    /// Advances `states`, which are h and whatever else the cell carries, each `[L·D, state_rows, ·]`. Returns the
    /// output and, if the call asks for them, the states after every step, each `[L·D, T, B, ·]`. All arrays have the
    /// sizes that the call implies; the call is not empty.
    pub(crate) fn forward(&self, call: &Call, input: &[F], states: &mut [Vec<F>]) -> Result<(Vec<F>, Vec<Vec<F>>)> {
        match &self.path {
            Path::Reference(model) => model.forward(call, input, states),
            // F is f32 here, so these casts change only the name of the type.
            Path::Fast(model) => {
                let result = in_f32(states, |of_f32| model.forward(call, bytemuck::cast_slice(input), of_f32));
                result.map(|(output, all)| (renamed(output), all.into_iter().map(renamed).collect()))
            }
        }
    }
}

/// Runs `work` on states of f32, which F is.
fn in_f32<F: Real, R>(states: &mut [Vec<F>], work: impl FnOnce(&mut [Vec<f32>]) -> R) -> R {
    let mut of_f32: Vec<Vec<f32>> = states.iter_mut().map(|state| renamed(std::mem::take(state))).collect();
    let result = work(&mut of_f32);
    for (state, of_f32) in states.iter_mut().zip(of_f32) {
        *state = renamed(of_f32);
    }
    result
}

/// Casts an array to another type that is in fact the same.
fn renamed<F: Real, G: Real>(array: Vec<F>) -> Vec<G> {
    bytemuck::allocation::cast_vec(array)
}
