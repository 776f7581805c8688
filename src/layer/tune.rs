//! Finding the fastest strategy by trying.

use crate::call::Call;
#[cfg(doc)]
use crate::device::Device;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::extents::Extents;
use crate::layer::kind::Kind;
use crate::layer::placed::Placed;
use crate::model::Engine;
use crate::options::Options;
use crate::real::Real;
use crate::strategy::Strategy;
use crate::tensor::Tensor;

impl<K: Kind, F: Real> Placed<K, F> {
    /// Times a forward of zeros of this input shape with each strategy that can run it, and gives the fastest.
    /// [`Strategy::Auto`] takes it from now on for all models of these sizes on this [`Device`], for this batch and
    /// sequences of any length, in streams for as many as there is room for; a strategy that was set stays. Without it,
    /// strategies are chosen by what is known of GPUs in general.
    ///
    /// It runs six forwards of each strategy, in turn, each with upload and readback. Strategies round differently: a
    /// program that wants the same bits in every run sets the strategy that `tune` has given it once. A shape without
    /// steps or rows times nothing, and gives the strategy that is set; so does the CPU, which has one way to run. It
    /// blocks, and is not there on wasm32, which has no clock.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn tune(&self, input_shape: &[usize]) -> Result<Strategy> {
        let extents = Extents::of_input(&self.config().0, input_shape)?;
        let (Engine::Gpu(model), false) = (&self.model().engine, extents.is_empty()) else {
            return Ok(self.strategy());
        };
        let zeros = Tensor::<f32>::zeros(input_shape)?;
        let call = Call::new(extents, &Options::new())?;
        pollster::block_on(model.tune(&call, zeros.data()))
    }
}
