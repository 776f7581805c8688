//! The cells with the options of ONNX's operators: any activation, clipping, and those of the LSTM. They are forwards
//! only. Source: ONNX's operators LSTM, GRU and RNN. The GPU twins are shaders/cell/general_*.wgsl.

mod gru;
mod lstm;

use super::State;
use crate::activation::Activation;
use crate::cell_kind::{CellKind, MAX_GATES};
use crate::config::RecurrentConfig;
use crate::error::Result;
use crate::memory::copied;
use crate::real::Real;
use crate::tensor::Tensor;

/// The options of one layer and direction.
#[derive(Clone, Debug)]
pub(crate) struct General<F> {
    /// ONNX's f, g and h, as far as the cell has them.
    activations: [Activation; 3],
    clip: Option<F>,
    input_forget: bool,
    /// `[3, H]` of the gates i, f, o; empty without peepholes.
    peephole: Vec<F>,
}

impl<F: Real> General<F> {
    pub(crate) fn new(config: &RecurrentConfig, direction: usize, peephole: Option<&Tensor<F>>) -> Result<Self> {
        Ok(Self {
            activations: config.form.activations(config.cell, direction),
            clip: config.form.clip.map(|clip| F::from_f64(clip.into())),
            input_forget: config.form.input_forget,
            peephole: copied("the peepholes", peephole.map_or(&[], Tensor::data))?,
        })
    }

    /// Returns the new state of unit `u`, given its gate pre-activations and its old state.
    pub(crate) fn cell(
        &self,
        kind: CellKind,
        u: usize,
        gx: [F; MAX_GATES],
        gh: [F; MAX_GATES],
        old: State<F>,
    ) -> State<F> {
        match kind {
            CellKind::Lstm => self.lstm(u, gx, gh, old),
            CellKind::Gru => self.gru(gx, gh, old),
            CellKind::GruResetBefore => self.gru_reset_before(gx, gh, old),
            // h' = f(clip(gx + gh))
            CellKind::Rnn(_) => State { h: self.f(gx[0] + gh[0]), ..old },
        }
    }

    /// Returns a pre-activation within the bounds. NaN stays.
    fn clipped(&self, x: F) -> F {
        match self.clip {
            Some(clip) if x > clip => clip,
            Some(clip) if x < F::zero() - clip => F::zero() - clip,
            _ => x,
        }
    }

    fn f(&self, x: F) -> F {
        self.activations[0].apply(self.clipped(x))
    }

    fn g(&self, x: F) -> F {
        self.activations[1].apply(self.clipped(x))
    }
}
