//! The state of a cell, where the cell runs.

use std::fmt;
use std::ops::Range;
use std::slice::from_ref;

use crate::blocking::Wait;
use crate::call::{Call, Task};
use crate::cell::CellConfig;
use crate::cell::input::Source;
use crate::cell::shape::StepShape;
use crate::error::{Error, Result};
use crate::layer::kind::Kind;
use crate::model::{Engine, PlacedModel};
use crate::options::Options;
use crate::real::Real;
use crate::request::Request;
use crate::session::Session;
use crate::tensor::Tensor;

/// The state of a cell between its steps, where the cell runs: [`LstmCellState`](crate::LstmCellState),
/// [`GruCellState`](crate::GruCellState) or [`RnnCellState`](crate::RnnCellState).
/// [`PlacedCell::zero_state`](crate::PlacedCell::zero_state) and
/// [`PlacedCell::state_from`](crate::PlacedCell::state_from) make it, [`PlacedCell::step`](crate::PlacedCell::step)
/// moves it on. It is the input of another cell's step as well, see [`StepInput`](crate::StepInput).
pub struct CellState<K, F = f32> {
    config: CellConfig<K>,
    shape: StepShape,
    session: Session<F>,
}

impl<K: Kind, F: Real> CellState<K, F> {
    pub(super) async fn zeros(config: CellConfig<K>, model: &PlacedModel<F>, shape: StepShape) -> Result<Self> {
        // Whatever a step needs is checked here, not at the first step.
        if let Engine::Gpu(model) = &model.engine
            && shape.batch() > 0
        {
            model.plan(Task::forward(shape.extents()))?;
        }
        Ok(Self { config, shape, session: Session::new(model, shape.batch().max(1), false).await? })
    }

    /// Reads the state's values: h `[B, H]`, and of an LSTM c `[B, H]`; unbatched `[H]`. Waits for the steps before.
    ///
    /// # Errors
    /// When it runs, [`Error::Limit`] when the device cannot hold what is read back; [`Error::OutOfMemory`],
    /// [`Error::DeviceLost`].
    pub fn read(&self) -> Request<'_, K::State<F>> {
        Request::plain(async move |wait| {
            let arrays = self.session.read(from_ref(&self.rows()), wait).await?;
            self.shape.state_of::<K, F>(&self.config, arrays)
        })
    }

    /// h as the input of another cell.
    pub(super) fn h_as_source(&self) -> Source<'_, F> {
        Source::HOf { shape: self.shape.state(&self.config), session: &self.session }
    }

    /// All rows of the state.
    fn rows(&self) -> Range<usize> {
        0..self.shape.batch()
    }

    /// Sets the values; the arrays have the state's shape.
    pub(super) async fn write(&mut self, arrays: &[&Tensor<F>], wait: Wait) -> Result<()> {
        let data: Vec<&[F]> = arrays.iter().map(|array| array.data()).collect();
        let rows = self.rows();
        self.session.write(from_ref(&rows), Some(&data), wait).await
    }

    /// Checks that this is a state of `model`, for an input of this shape, which it can read.
    pub(super) fn check(&self, model: &PlacedModel<F>, shape: StepShape, input: &Source<'_, F>) -> Result<()> {
        if !self.session.is_of(model) {
            let got = "one of another cell".to_owned();
            return Err(Error::Config { argument: "state", expected: "a state that this cell has made", got });
        }
        if shape != self.shape {
            let features = self.config.input_size();
            let expected = match self.shape {
                StepShape(Some(batch)) => format!("[{batch}, {features}] ([B, I], as the state is [B, H])"),
                StepShape(None) => format!("[{features}] ([I], as the state is [H])"),
            };
            return Err(Error::Shape { what: "input".to_owned(), expected, got: input.shape().to_vec() });
        }
        input.session().map_or(Ok(()), |other| self.session.check_reads(other))
    }

    pub(super) async fn push(&mut self, input: &Source<'_, F>, wait: Wait) -> Result<()> {
        let call = Call::new(self.shape.extents(), &Options::new())?;
        self.session.push(call, input.input(), wait).await.map(drop)
    }
}

/// Of what cell, and how many rows: "CellState(LSTMCell(10, 20), B = 3)"; its values are where the cell runs.
impl<K: Kind, F: Real> fmt::Debug for CellState<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shape {
            StepShape(Some(batch)) => write!(f, "CellState({}, B = {batch})", self.config),
            StepShape(None) => write!(f, "CellState({}, unbatched)", self.config),
        }
    }
}
