//! A cell on a device.

use std::fmt;
use std::sync::Arc;

use crate::as_view::AsView;
use crate::blocking::Wait;
use crate::call::{Call, Results};
use crate::cell::input::{Source, StepInput};
use crate::cell::shape::StepShape;
use crate::cell::state::CellState;
use crate::cell::{Cell, CellConfig};
use crate::device::Device;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::layer::kind::Kind;
use crate::model::PlacedModel;
use crate::options::Options;
use crate::real::Real;
use crate::request::{FromState, Request, sealed};
use crate::tensor::{Tensor, TensorView};

/// A [`Cell`] on a device, ready to run: [`PlacedLstmCell`](crate::PlacedLstmCell),
/// [`PlacedGruCell`](crate::PlacedGruCell) or [`PlacedRnnCell`](crate::PlacedRnnCell). May be used from several threads
/// at once.
///
/// Cheap to clone: clones are the same cell.
#[derive(Clone)]
pub struct PlacedCell<K: Kind, F: Real = f32>(Arc<Shared<K, F>>);

struct Shared<K, F> {
    cell: Cell<K, F>,
    device: Device,
    model: PlacedModel<F>,
}

/// The question of [`PlacedCell::request`].
pub struct OneStep<'a, K: Kind, F: Real> {
    placed: &'a PlacedCell<K, F>,
    input: Result<TensorView<'a, F>>,
    state: Option<&'a K::State<F>>,
}

impl<K: Kind, F: Real> PlacedCell<K, F> {
    pub(super) fn new(cell: Cell<K, F>, device: Device, model: PlacedModel<F>) -> Self {
        Self(Arc::new(Shared { cell, device, model }))
    }

    pub(super) fn model(&self) -> &PlacedModel<F> {
        &self.0.model
    }

    /// Returns the cell, as it was placed.
    pub fn cell(&self) -> &Cell<K, F> {
        &self.0.cell
    }

    /// Returns the configuration.
    pub fn config(&self) -> &CellConfig<K> {
        self.0.cell.config()
    }

    /// Returns the device that it runs on.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// Runs one step between arrays of the host, `module(input, state)` in PyTorch: input `[B, I]` or unbatched `[I]`,
    /// states `[B, H]` or `[H]`. The state is `None` for zeros, `&state` or `Some(&state)`. Steps that follow each
    /// other are better taken by [`step`](Self::step), whose state stays on the device. [`request`](Self::request) does
    /// not block.
    ///
    /// # Errors
    /// [`Error::Shape`] for an input or state of the wrong shape, [`Error::Limit`] for a batch that the device cannot
    /// hold, both before any work; [`Error::OutOfMemory`], [`Error::DeviceLost`]. [`Error::Unsupported`] for an input
    /// that is no [view](AsView).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn forward<'s>(
        &self,
        input: &impl AsView<F>,
        state: impl Into<Option<&'s K::State<F>>>,
    ) -> Result<K::State<F>> {
        let step = OneStep { placed: self, input: input.try_as_view(), state: state.into() };
        pollster::block_on(step.state(Wait::Blocking))
    }

    /// Requests a step between arrays of the host, from a [state](Request::state) or from zeros. See [`Request`].
    ///
    /// # Errors
    /// When it runs, as [`forward`](Self::forward).
    pub fn request<'a>(&'a self, input: &'a impl AsView<F>) -> Request<'a, K::State<F>, OneStep<'a, K, F>> {
        let step = OneStep { placed: self, input: input.try_as_view(), state: None };
        Request::new(step, |step, wait| Box::pin(step.state(wait)))
    }

    /// Makes a zero state of B = `batch` rows, or with `None` of one unbatched row, which stays where the cell runs.
    ///
    /// # Errors
    /// When it runs, [`Error::Limit`] when the device cannot hold it; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn zero_state(&self, batch: impl Into<Option<usize>>) -> Request<'_, CellState<K, F>> {
        let shape = StepShape(batch.into());
        Request::plain(move |_| CellState::zeros(self.config().clone(), &self.0.model, shape))
    }

    /// Makes a state that stays where the cell runs, with the values of one on the host: `[B, H]`, or `[H]` for
    /// unbatched steps.
    ///
    /// # Errors
    /// When it runs, [`Error::Shape`] for a state of the wrong shape; as [`zero_state`](Self::zero_state).
    pub fn state_from<'a>(&'a self, state: &'a K::State<F>) -> Request<'a, CellState<K, F>> {
        Request::plain(async move |wait| {
            let arrays = K::arrays(state);
            let shape = StepShape::of_state(self.config(), &arrays)?;
            let mut state = CellState::zeros(self.config().clone(), &self.0.model, shape).await?;
            state.write(&arrays, wait).await?;
            Ok(state)
        })
    }

    /// Moves a state on by one step, where it is: `state = module(input, state)` in PyTorch. The input is an array on
    /// the host, `[B, I]` or unbatched `[I]`, or the state of another cell on the same device, whose h is read where it
    /// is: `second.step(&state1, &mut state2)`, see [`StepInput`]. On a GPU the step is submitted and, except for one
    /// in 64, not waited for; [`CellState::read`] waits. After an error of the device the state is unspecified.
    /// [`request_step`](Self::request_step) does not block.
    ///
    /// # Errors
    /// [`Error::Shape`] for an input of the wrong shape, [`Error::Config`] if `state` belongs to another cell or the
    /// input is a state on another device, all before any work; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    /// [`Error::Unsupported`] for an input that is no [view](AsView).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn step(&self, input: &impl StepInput<F>, state: &mut CellState<K, F>) -> Result<()> {
        pollster::block_on(self.step_waiting(input.as_step_source().0, state, Wait::Blocking))
    }

    /// Requests a [`step`](Self::step). When its future is dropped before its end, the state is unspecified. See
    /// [`Request`].
    ///
    /// # Errors
    /// When it runs, as [`step`](Self::step).
    pub fn request_step<'a>(&'a self, input: &'a impl StepInput<F>, state: &'a mut CellState<K, F>) -> Request<'a, ()> {
        let input = input.as_step_source().0;
        Request::plain(move |wait| self.step_waiting(input, state, wait))
    }

    async fn step_waiting(&self, input: Result<Source<'_, F>>, state: &mut CellState<K, F>, wait: Wait) -> Result<()> {
        let input = input?;
        let shape = StepShape::of_input(self.config(), input.shape())?;
        state.check(&self.0.model, shape, &input)?;
        state.push(&input, wait).await
    }
}

impl<K: Kind, F: Real> OneStep<'_, K, F> {
    async fn state(self, wait: Wait) -> Result<K::State<F>> {
        let (config, input) = (self.placed.config(), self.input?);
        let shape = StepShape::of_input(config, input.shape())?;
        let initial = self.state.map(K::arrays);
        if let Some(arrays) = &initial {
            shape.check(config, arrays)?;
        }
        let initial: Option<Vec<&[F]>> = initial.map(|arrays| arrays.into_iter().map(Tensor::data).collect());
        // h is all there is to be had of one step.
        let call = Call::new(shape.extents(), &Options::new())?.with_results(Results::States);
        let computed = self.placed.0.model.compute(&call, input.data(), initial.as_deref(), wait).await?;
        shape.state_of::<K, F>(config, computed.states)
    }
}

impl<K: Kind, F: Real> sealed::Sealed for OneStep<'_, K, F> {}

impl<'a, K: Kind, F: Real> FromState<'a> for OneStep<'a, K, F> {
    type State = K::State<F>;

    fn set_state(&mut self, state: Option<&'a K::State<F>>) {
        self.state = state;
    }
}

/// As of [`Display`](fmt::Display): weights are not printed.
impl<K: Kind, F: Real> fmt::Debug for PlacedCell<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlacedCell({self})")
    }
}

/// The cell and where it is: "LSTMCell(10, 20) on CPU".
impl<K: Kind, F: Real> fmt::Display for PlacedCell<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.config(), self.device())
    }
}
