//! A cell on a device.

#[cfg(doc)]
use crate::Error;
use crate::call::Call;
use crate::cell::config::CellConfig;
use crate::cell::shape::StepShape;
use crate::cell::state::CellState;
use crate::device::Device;
use crate::gpu::Wait;
use crate::layer::kind::Kind;
use crate::model::PlacedModel;
use crate::options::Options;
use crate::{Real, Result, Tensor};

/// A [`Cell`](crate::Cell) on a device, ready to run: [`PlacedLstmCell`](crate::PlacedLstmCell),
/// [`PlacedGruCell`](crate::PlacedGruCell) or [`PlacedRnnCell`](crate::PlacedRnnCell). May be used from several threads at once.
#[derive(Debug)]
pub struct PlacedCell<K, F = f32> {
    pub(super) config: CellConfig<K>,
    pub(super) device: Device,
    pub(super) model: PlacedModel<F>,
}

impl<K: Kind, F: Real> PlacedCell<K, F> {
    /// One step between arrays of the host, `module(input, state)` in PyTorch: input `[B, I]` or unbatched `[I]`, states
    /// `[B, H]` or `[H]`. No state means zeros. Steps that follow each other are better taken by [`step`](Self::step), whose
    /// state stays on the device.
    ///
    /// # Errors
    /// [`Error::Shape`] for an input or state of the wrong shape, [`Error::Limit`] for a batch that the device cannot hold,
    /// both before any work; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn forward(&self, input: &Tensor<F>, state: Option<&K::State<F>>) -> Result<K::State<F>> {
        pollster::block_on(self.run(input, state, Wait::Blocking))
    }

    /// [`forward`](Self::forward) without blocking. The CPU path computes inside the call.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub async fn forward_async(&self, input: &Tensor<F>, state: Option<&K::State<F>>) -> Result<K::State<F>> {
        self.run(input, state, Wait::Async).await
    }

    async fn run(&self, input: &Tensor<F>, state: Option<&K::State<F>>, wait: Wait) -> Result<K::State<F>> {
        let shape = StepShape::of_input(&self.config, input.shape())?;
        let initial = state.map(K::arrays);
        if let Some(arrays) = &initial {
            shape.check(&self.config, arrays)?;
        }
        let initial: Option<Vec<&[F]>> = initial.map(|arrays| arrays.into_iter().map(Tensor::data).collect());
        let call = Call::new(shape.extents(), &Options::new())?;
        let computed = self.model.compute(&call, input.data(), initial.as_deref(), wait).await?;
        shape.state_of::<K, F>(&self.config, computed.states)
    }

    /// A zero state of B = `batch` rows, or with `None` of one unbatched row, which stays where the cell runs.
    ///
    /// # Errors
    /// [`Error::Limit`] when the device cannot hold it; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn zero_state(&self, batch: impl Into<Option<usize>>) -> Result<CellState<K, F>> {
        pollster::block_on(self.resident(StepShape(batch.into()), None, Wait::Blocking))
    }

    /// [`zero_state`](Self::zero_state) without blocking.
    ///
    /// # Errors
    /// As [`zero_state`](Self::zero_state).
    pub async fn zero_state_async(&self, batch: impl Into<Option<usize>>) -> Result<CellState<K, F>> {
        self.resident(StepShape(batch.into()), None, Wait::Async).await
    }

    /// A state that stays where the cell runs, with the values of one on the host: `[B, H]`, or `[H]` for unbatched steps.
    ///
    /// # Errors
    /// [`Error::Shape`] for a state of the wrong shape; as [`zero_state`](Self::zero_state).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn state_from(&self, state: &K::State<F>) -> Result<CellState<K, F>> {
        pollster::block_on(self.state_waiting(state, Wait::Blocking))
    }

    /// [`state_from`](Self::state_from) without blocking.
    ///
    /// # Errors
    /// As [`state_from`](Self::state_from).
    pub async fn state_from_async(&self, state: &K::State<F>) -> Result<CellState<K, F>> {
        self.state_waiting(state, Wait::Async).await
    }

    async fn state_waiting(&self, state: &K::State<F>, wait: Wait) -> Result<CellState<K, F>> {
        let arrays = K::arrays(state);
        let shape = StepShape::of_state(&self.config, &arrays)?;
        self.resident(shape, Some(arrays), wait).await
    }

    async fn resident(&self, shape: StepShape, arrays: Option<Vec<&Tensor<F>>>, wait: Wait) -> Result<CellState<K, F>> {
        let mut state = CellState::zeros(self.config.clone(), &self.model, shape).await?;
        if let Some(arrays) = arrays {
            state.write(&arrays, wait).await?;
        }
        Ok(state)
    }

    /// Moves a state on by one step, where it is: `state = module(input, state)` in PyTorch. On a GPU the step is submitted and, but
    /// for one in 64, not waited for; [`CellState::read`] waits. After an error of the device, or when the future of an async step
    /// is dropped before its end, the state is unspecified.
    ///
    /// # Errors
    /// [`Error::Shape`] for an input of the wrong shape, [`Error::Config`] for the state of another cell, both before any
    /// work; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn step(&self, input: &Tensor<F>, state: &mut CellState<K, F>) -> Result<()> {
        pollster::block_on(self.step_waiting(input, state, Wait::Blocking))
    }

    /// [`step`](Self::step) without blocking.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub async fn step_async(&self, input: &Tensor<F>, state: &mut CellState<K, F>) -> Result<()> {
        self.step_waiting(input, state, Wait::Async).await
    }

    async fn step_waiting(&self, input: &Tensor<F>, state: &mut CellState<K, F>, wait: Wait) -> Result<()> {
        let shape = StepShape::of_input(&self.config, input.shape())?;
        state.check(&self.model, shape, input.shape())?;
        state.push(input.data(), wait).await
    }

    /// The configuration.
    pub fn config(&self) -> &CellConfig<K> {
        &self.config
    }

    /// Where it runs.
    pub fn device(&self) -> &Device {
        &self.device
    }
}
