//! A layer that a file describes, in PyTorch's form, and what its own framework does around it.

use std::fmt;

#[cfg(any(feature = "onnx", feature = "keras"))]
use crate::cell_kind::CellKind;
#[cfg(any(feature = "onnx", feature = "keras"))]
use crate::config::RecurrentConfig;
use crate::error::{Error, Result};
#[cfg(any(feature = "onnx", feature = "keras"))]
use crate::layer::Layer;
use crate::layer::any::AnyLayer;
#[cfg(any(feature = "onnx", feature = "keras"))]
use crate::layer::config::Config;
use crate::memory::reserved;
use crate::real::Real;
use crate::tensor::Tensor;
#[cfg(any(feature = "onnx", feature = "keras"))]
use crate::weights::LayerWeights;

/// The parts of a layer that a file describes.
#[cfg(any(feature = "onnx", feature = "keras"))]
pub(crate) struct Described<F> {
    pub(crate) config: RecurrentConfig,
    /// Index: layer·D + direction.
    pub(crate) layers: Vec<LayerWeights<F>>,
    pub(crate) merge: Option<Merge>,
    /// True if the output is in the order of the steps of a reverse layer.
    pub(crate) flips: bool,
    /// The constant initial states, h and c.
    pub(crate) initial: Option<[Tensor<F>; 2]>,
    pub(crate) lengths: Option<Vec<i64>>,
}

#[cfg(any(feature = "onnx", feature = "keras"))]
impl<F> Described<F> {
    pub(crate) fn new(config: RecurrentConfig, layers: Vec<LayerWeights<F>>) -> Self {
        Self { config, layers, merge: None, flips: false, initial: None, lengths: None }
    }
}

/// The way in which Keras's `Bidirectional` makes one output of those of its two directions: `merge_mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Merge {
    /// One after the other, `[…, 2·H]`, as in PyTorch.
    #[default]
    Concat,
    /// Their sum, `[…, H]`.
    Sum,
    /// Their product, `[…, H]`.
    Mul,
    /// Their average, `[…, H]`.
    Ave,
}

/// A layer read from a [`Source`](crate::Source): in PyTorch's form, with what its own framework does around it.
///
/// [`layer`](Self::layer) runs like any other, and like any other from zeros: where the model has an initial state of
/// its own, as one that was learned, [`initial_state`](Self::initial_state) returns it. Where the framework's output
/// differs from PyTorch's, as with `merge_mode` or `go_backwards` of Keras, [`finish`](Self::finish) makes the one of
/// the other.
#[derive(Clone)]
pub struct Imported<F = f32> {
    layer: AnyLayer<F>,
    merge: Merge,
    flips: bool,
    initial_state: Option<Vec<Tensor<F>>>,
    lengths: Option<Vec<usize>>,
}

/// Wraps a layer around which nothing is done.
impl<F> From<AnyLayer<F>> for Imported<F> {
    fn from(layer: AnyLayer<F>) -> Self {
        Self { layer, merge: Merge::Concat, flips: false, initial_state: None, lengths: None }
    }
}

/// Writes the layer in one line, without its weights.
impl<F: Real> fmt::Debug for Imported<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Imported({:?}, {:?})", self.layer, self.merge)
    }
}

impl<F: Real> Imported<F> {
    #[cfg(any(feature = "onnx", feature = "keras"))]
    pub(crate) fn new(described: Described<F>) -> Result<Self> {
        let Described { config, layers, merge, flips, initial, lengths } = described;
        let states = config.cell.states().len();
        let layer = match config.cell {
            CellKind::Lstm => AnyLayer::Lstm(Layer::new(Config::of(config), layers)?),
            CellKind::Gru | CellKind::GruResetBefore => AnyLayer::Gru(Layer::new(Config::of(config), layers)?),
            CellKind::Rnn(_) => AnyLayer::Rnn(Layer::new(Config::of(config), layers)?),
        };
        let length = |length: i64| {
            let expected = "lengths of at least 0";
            usize::try_from(length).map_err(|_| Error::Config {
                argument: "sequence_lens",
                expected,
                got: length.to_string(),
            })
        };
        let lengths = lengths.map(|all| all.into_iter().map(length).collect()).transpose()?;
        let initial_state = initial.map(|states_of_all| states_of_all.into_iter().take(states).collect());
        Ok(Self { layer, merge: merge.unwrap_or_default(), flips, initial_state, lengths })
    }

    /// Returns the layer.
    pub fn layer(&self) -> &AnyLayer<F> {
        &self.layer
    }

    /// Returns the layer alone.
    pub fn into_layer(self) -> AnyLayer<F> {
        self.layer
    }

    /// Sets the layout of batched input and output, as [`AnyLayer::with_batch_first`] does. By default it is that of
    /// the file: ONNX's `layout`, and `[B, T, ·]` for Keras.
    #[must_use]
    pub fn with_batch_first(self, batch_first: bool) -> Self {
        Self { layer: self.layer.with_batch_first(batch_first), ..self }
    }

    /// Returns `merge_mode` of Keras's `Bidirectional`.
    pub fn merge(&self) -> Merge {
        self.merge
    }

    /// Returns true if the framework's output is in the order of the steps from the last time to the first
    /// (`go_backwards` of Keras).
    pub fn go_backwards(&self) -> bool {
        self.flips
    }

    /// Returns the initial state that the file gives as a constant and that is not zero: h_0 and, for an LSTM, c_0,
    /// each `[L·D, B, H]`, where B is the file's: 1 for a state that the graph repeats for every row of a batch.
    pub fn initial_state(&self) -> Option<&[Tensor<F>]> {
        self.initial_state.as_deref()
    }

    /// Returns the lengths of the batch rows that the file gives as a constant (`sequence_lens` of ONNX).
    pub fn lengths(&self) -> Option<&[usize]> {
        self.lengths.as_deref()
    }

    /// Returns the framework's output for one of the layer: the directions merged, in the framework's order of time.
    /// It is that of all steps, also for a layer of Keras with `return_sequences=False`, which keeps the last one.
    ///
    /// # Errors
    /// [`Error::Shape`] for an array that is not an output of the layer; [`Error::TooLarge`].
    pub fn finish(&self, output: &Tensor<F>) -> Result<Tensor<F>> {
        let (shape, width) = (output.shape(), self.layer.output_size());
        if !(2..=3).contains(&shape.len()) || shape.last() != Some(&width) {
            let expected = format!("[…, {width}], an output of {}", self.layer);
            return Err(Error::Shape { what: "output".to_owned(), expected, got: shape.to_vec() });
        }
        let merged = self.merged(output)?;
        if !self.flips {
            return Ok(merged);
        }
        // The dimension of time is the second of [B, T, ·], and the first of [T, B, ·] and [T, ·].
        let dimension = usize::from(shape.len() == 3 && self.layer.batch_first());
        let shape = merged.shape();
        let inner: usize = shape[dimension + 1..].iter().product();
        let mut flipped = reserved("output", shape)?;
        for rows in merged.data().chunks_exact((shape[dimension] * inner).max(1)) {
            rows.chunks_exact(inner.max(1)).rev().for_each(|row| flipped.extend_from_slice(row));
        }
        Tensor::new(shape, flipped)
    }

    fn merged(&self, output: &Tensor<F>) -> Result<Tensor<F>> {
        let width = self.layer.output_size() / 2;
        let merge = |a: F, b: F| match self.merge {
            Merge::Sum => a + b,
            Merge::Mul => a * b,
            Merge::Concat | Merge::Ave => (a + b) * F::from_f64(0.5),
        };
        if self.merge == Merge::Concat {
            return output.as_view().to_tensor();
        }
        let mut shape = output.shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = width;
        }
        let mut merged = reserved("output", &shape)?;
        for row in output.data().chunks_exact((2 * width).max(1)) {
            let (forward, backward) = row.split_at(width);
            merged.extend(forward.iter().zip(backward).map(|(&a, &b)| merge(a, b)));
        }
        Tensor::new(shape, merged)
    }
}
