//! The input of a cell's step: an array on the host, or h of another cell.

use crate::as_view::AsView;
#[cfg(doc)]
use crate::cell::placed::PlacedCell;
use crate::cell::state::CellState;
use crate::error::Result;
use crate::layer::kind::Kind;
use crate::real::Real;
use crate::session::{Input, Session};
use crate::tensor::{Tensor, TensorView};

/// The input of [`PlacedCell::step`]: an array on the host, as a [`Tensor`], [`TensorView`] or with the feature
/// `ndarray` an array of `ndarray`, or the [state](CellState) of another cell, whose h is read where it is. Stacked
/// cells then exchange nothing with the host:
///
/// ```
/// use wgpu_rnn::{Device, GruCell, GruCellConfig, LstmCell, LstmCellConfig, Tensor};
///
/// let device = Device::auto();
/// let first = LstmCell::random(LstmCellConfig::new(10, 20), 0)?.to(&device)?;
/// let second = GruCell::random(GruCellConfig::new(20, 5), 1)?.to(&device)?; // I = H of the first
///
/// let mut state1 = first.zero_state(3).run()?;
/// let mut state2 = second.zero_state(3).run()?;
/// for x_t in &vec![Tensor::zeros([3, 10])?; 7] {
///     first.step(x_t, &mut state1)?;
///     second.step(&state1, &mut state2)?; // h2 = second(h1, h2)
/// }
/// assert_eq!(state2.read().run()?.shape(), [3, 5]); // [B, H]
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
///
/// Sealed. A type of your own that is a [view](AsView) is passed as `&x.try_as_view()?`.
#[diagnostic::on_unimplemented(note = "give a Vec or slice a shape: TensorView::new([b, i], &data)?")]
pub trait StepInput<F: Real = f32> {
    #[doc(hidden)]
    fn as_step_source(&self) -> StepSource<'_, F>;
}

/// The crate's own view of an input; opaque to the outside.
#[doc(hidden)]
pub struct StepSource<'a, F>(pub(super) Result<Source<'a, F>>);

pub(super) enum Source<'a, F> {
    Host(TensorView<'a, F>),
    HOf { shape: Vec<usize>, session: &'a Session<F> },
}

impl<F: Real> StepInput<F> for Tensor<F> {
    fn as_step_source(&self) -> StepSource<'_, F> {
        StepSource::of_view(self)
    }
}

impl<F: Real> StepInput<F> for TensorView<'_, F> {
    fn as_step_source(&self) -> StepSource<'_, F> {
        StepSource::of_view(self)
    }
}

#[cfg(feature = "ndarray")]
impl<F: Real, S: ndarray::Data<Elem = F>, D: ndarray::Dimension> StepInput<F> for ndarray::ArrayBase<S, D> {
    fn as_step_source(&self) -> StepSource<'_, F> {
        StepSource::of_view(self)
    }
}

/// h, `[B, H]` or unbatched `[H]`, as it is when the step is requested.
impl<K: Kind, F: Real> StepInput<F> for CellState<K, F> {
    fn as_step_source(&self) -> StepSource<'_, F> {
        StepSource(Ok(self.h_as_source()))
    }
}

impl<'a, F: Real> StepSource<'a, F> {
    fn of_view(input: &'a impl AsView<F>) -> Self {
        Self(input.try_as_view().map(Source::Host))
    }
}

impl<'a, F: Real> Source<'a, F> {
    pub(super) fn shape(&self) -> &[usize] {
        match self {
            Self::Host(view) => view.shape(),
            Self::HOf { shape, .. } => shape,
        }
    }

    /// The session that it is the h of, if it is on the device.
    pub(super) fn session(&self) -> Option<&'a Session<F>> {
        match *self {
            Self::Host(_) => None,
            Self::HOf { session, .. } => Some(session),
        }
    }

    pub(super) fn input(&self) -> Input<'_, F> {
        match self {
            Self::Host(view) => Input::Host(view.data()),
            Self::HOf { session, .. } => Input::HOf(session),
        }
    }
}
