//! The shapes of one step.

use crate::cell::CellConfig;
use crate::error::{Error, Result};
use crate::extents::Extents;
use crate::layer::kind::Kind;
use crate::real::Real;
use crate::tensor::Tensor;

/// The rows of a step: B, or `None` for unbatched arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StepShape(pub(super) Option<usize>);

impl StepShape {
    /// Reads an input's shape by PyTorch's rule: `[B, I]`, unbatched `[I]`.
    pub(super) fn of_input<K: Kind>(config: &CellConfig<K>, shape: &[usize]) -> Result<Self> {
        match *shape {
            [features] if features == config.input_size() => Ok(Self(None)),
            [batch, features] if features == config.input_size() => Ok(Self(Some(batch))),
            _ => {
                let expected = format!("[B, I] or unbatched [I] with I = {}", config.input_size());
                Err(Error::Shape { what: "input".to_owned(), expected, got: shape.to_vec() })
            }
        }
    }

    /// The shape of steps that move on a state of these arrays: `[B, H]`, unbatched `[H]`.
    pub(super) fn of_state<K: Kind, F: Real>(config: &CellConfig<K>, arrays: &[&Tensor<F>]) -> Result<Self> {
        let shape = match arrays.first().map(|h| h.shape()) {
            Some(&[batch, _]) => Self(Some(batch)),
            _ => Self(None),
        };
        let meaning = if shape.0.is_some() { "[B, H]" } else { "[H], or [B, H] of a batch" };
        shape.check_arrays(config, arrays, meaning).map(|()| shape)
    }

    /// B; 1 for unbatched arrays.
    pub(super) fn batch(self) -> usize {
        self.0.unwrap_or(1)
    }

    /// Returns the extents of one time step of these rows.
    pub(super) fn extents(self) -> Extents {
        Extents { time_steps: 1, batch: self.batch(), batched: true, batch_first: false, reverse: false }
    }

    /// The shape of a state: `[B, H]`, unbatched `[H]`.
    pub(super) fn state<K: Kind>(self, config: &CellConfig<K>) -> Vec<usize> {
        self.0.into_iter().chain([config.hidden_size()]).collect()
    }

    /// The arrays of a state as one of the kind's own type.
    pub(super) fn state_of<K: Kind, F: Real>(self, config: &CellConfig<K>, arrays: Vec<Vec<F>>) -> Result<K::State<F>> {
        let shaped = arrays.into_iter().map(|array| Tensor::new(self.state(config), array));
        K::state(shaped.collect::<Result<_>>()?)
    }

    /// Checks the arrays of a state that comes with an input of this shape.
    pub(super) fn check<K: Kind, F: Real>(self, config: &CellConfig<K>, arrays: &[&Tensor<F>]) -> Result<()> {
        let meaning = if self.0.is_some() { "[B, H], as the input is [B, I]" } else { "[H], as the input is [I]" };
        self.check_arrays(config, arrays, meaning)
    }

    fn check_arrays<K: Kind, F: Real>(
        self,
        config: &CellConfig<K>,
        arrays: &[&Tensor<F>],
        meaning: &str,
    ) -> Result<()> {
        let expected = self.state(config);
        match config.0.cell.states().iter().zip(arrays).find(|(_, array)| array.shape() != expected) {
            None => Ok(()),
            Some((name, array)) => Err(Error::Shape {
                what: name.initial.to_owned(),
                expected: format!("{expected:?} ({meaning})"),
                got: array.shape().to_vec(),
            }),
        }
    }
}
