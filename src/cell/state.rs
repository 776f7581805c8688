//! The state of a cell, where the cell runs.

use crate::call::{Call, Task};
use crate::cell::config::CellConfig;
use crate::cell::shape::StepShape;
use crate::gpu::Wait;
use crate::layer::kind::Kind;
use crate::model::{Place, PlacedModel};
use crate::options::Options;
use crate::session::Session;
use crate::{Error, Real, Result, Tensor};

/// The state of a cell between its steps, where the cell runs: [`LstmCellState`](crate::LstmCellState),
/// [`GruCellState`](crate::GruCellState) or [`RnnCellState`](crate::RnnCellState).
/// [`PlacedCell::zero_state`](crate::PlacedCell::zero_state) and [`PlacedCell::state_from`](crate::PlacedCell::state_from) make it,
/// [`PlacedCell::step`](crate::PlacedCell::step) moves it on.
#[derive(Debug)]
pub struct CellState<K, F = f32> {
    config: CellConfig<K>,
    shape: StepShape,
    session: Session<F>,
}

impl<K: Kind, F: Real> CellState<K, F> {
    pub(super) async fn zeros(config: CellConfig<K>, model: &PlacedModel<F>, shape: StepShape) -> Result<Self> {
        // What a step needs is checked here, not at the first step.
        if let Place::Gpu(model) = &model.place
            && shape.batch() > 0
        {
            model.plan(Task::forward(shape.extents()))?;
        }
        Ok(Self { config, shape, session: Session::new(model, shape.batch().max(1), false).await? })
    }

    /// The state's values on the host: h `[B, H]`, and of an LSTM c `[B, H]`; unbatched `[H]`. Waits for the steps before.
    ///
    /// # Errors
    /// [`Error::Limit`] when the device cannot hold what is read back; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read(&self) -> Result<K::State<F>> {
        pollster::block_on(self.read_waiting(Wait::Blocking))
    }

    /// [`read`](Self::read) without blocking.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_async(&self) -> Result<K::State<F>> {
        self.read_waiting(Wait::Async).await
    }

    async fn read_waiting(&self, wait: Wait) -> Result<K::State<F>> {
        let arrays = self.session.read(0..self.shape.batch(), wait).await?;
        self.shape.state_of::<K, F>(&self.config, arrays)
    }

    /// Sets the values; the arrays have the state's shape.
    pub(super) async fn write(&mut self, arrays: &[&Tensor<F>], wait: Wait) -> Result<()> {
        let data: Vec<&[F]> = arrays.iter().map(|array| array.data()).collect();
        self.session.write(0..self.shape.batch(), Some(&data), wait).await
    }

    /// Whether this is a state of `model`, for inputs of this shape.
    pub(super) fn check(&self, model: &PlacedModel<F>, input: StepShape, input_shape: &[usize]) -> Result<()> {
        if !self.session.is_of(model) {
            let got = "one of another cell".to_owned();
            return Err(Error::Config { argument: "state", expected: "a state that this cell has made", got });
        }
        if input != self.shape {
            let features = self.config.input_size();
            let expected = match self.shape {
                StepShape(Some(batch)) => format!("[{batch}, {features}] ([B, I], as the state is [B, H])"),
                StepShape(None) => format!("[{features}] ([I], as the state is [H])"),
            };
            return Err(Error::Shape { what: "input".to_owned(), expected, got: input_shape.to_vec() });
        }
        Ok(())
    }

    pub(super) async fn push(&mut self, input: &[F], wait: Wait) -> Result<()> {
        let call = Call::new(self.shape.extents(), &Options::new())?;
        self.session.push(call, input, wait).await.map(drop)
    }
}
