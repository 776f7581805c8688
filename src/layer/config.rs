//! The configuration of a layer or cell, before it has weights or a device.

use std::marker::PhantomData;

use crate::cell_kind::Nonlinearity;
use crate::config::RecurrentConfig;
use crate::error::{Error, Result};
use crate::layer::kind::{GruKind, Kind, KindCell, LstmKind, RnnKind};
use crate::real::Real;
use crate::tensor::{Tensor, TensorView};

/// The configuration of a recurrent layer or cell: the arguments of `torch.nn.LSTM`, `GRU`, `RNN`, `LSTMCell`,
/// `GRUCell` or `RNNCell` by the same names and with the same defaults. `with_…` sets an argument, the name alone reads
/// it.
///
/// [`LstmConfig`](crate::LstmConfig), [`GruConfig`](crate::GruConfig) and [`RnnConfig`](crate::RnnConfig) are those of
/// layers, [`LstmCellConfig`](crate::LstmCellConfig), [`GruCellConfig`](crate::GruCellConfig) and
/// [`RnnCellConfig`](crate::RnnCellConfig) those of cells, which have the size of one layer.
///
/// Values are checked when a model is made from the configuration ([`Layer::new`](crate::Layer::new),
/// [`Layer::random`](crate::Layer::random)): sizes must be > 0, `proj_size` below `hidden_size`, `dropout` from 0 to 1.
///
/// ```
/// use wgpu_rnn::{LstmConfig, Nonlinearity, RnnCellConfig};
///
/// let config = LstmConfig::new(100, 20).with_num_layers(4).with_bidirectional(true);
/// assert_eq!((config.num_layers(), config.directions(), config.output_size()), (4, 2, 40));
/// assert_eq!(config.to_string(), "LSTM(100, 20, num_layers=4, bidirectional=true)");
///
/// let config = RnnCellConfig::new(10, 20).with_bias(false).with_nonlinearity(Nonlinearity::Relu);
/// assert_eq!(config.to_string(), "RNNCell(10, 20, bias=false, nonlinearity=relu)");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Config<K, M = ForLayer>(pub(crate) RecurrentConfig, PhantomData<(K, M)>);

/// The modules that a [`Config`] is for: [`ForLayer`] and [`ForCell`]. Sealed.
pub trait Module: sealed::Sealed + Clone + std::fmt::Debug + PartialEq + Send + Sync + 'static {
    #[doc(hidden)]
    const SUFFIX: &'static str;
}

/// A configuration of a [`Layer`](crate::Layer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForLayer {}

/// A configuration of a [`Cell`](crate::Cell).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForCell {}

impl Module for ForLayer {
    const SUFFIX: &'static str = "";
}

impl Module for ForCell {
    const SUFFIX: &'static str = "Cell";
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::ForLayer {}
    impl Sealed for super::ForCell {}
}

impl Config<LstmKind> {
    /// Sets P: h is projected from H values to this many, fewer than H (Sak et al. 2014); 0, the default, is no
    /// projection.
    #[must_use]
    pub fn with_proj_size(mut self, proj_size: usize) -> Self {
        self.0.proj_size = proj_size;
        self
    }

    /// Returns P where h is projected, else 0.
    pub fn proj_size(&self) -> usize {
        self.0.proj_size
    }
}

impl<M: Module> Config<GruKind, M> {
    /// Sets where the reset gate acts: after the recurrent product of the new gate (true, PyTorch's GRU and the
    /// default), or before it (`reset_after=False` of Keras, `linear_before_reset=0` of ONNX; Cho et al. 2014):
    ///
    /// ```text
    /// after    n = tanh(W_in·x + b_in + r ⊙ (W_hn·h + b_hn))
    /// before   n = tanh(W_in·x + b_in + W_hn·(r ⊙ h) + b_hn)
    /// ```
    ///
    /// Weights do not record it. A step of the second form has two products, and on a GPU two dispatches: neither
    /// [`Strategy::Sequence`](crate::Strategy::Sequence) nor [`Strategy::Wavefront`](crate::Strategy::Wavefront) runs it.
    #[must_use]
    pub fn with_reset_after(mut self, reset_after: bool) -> Self {
        self.0.cell = self.0.cell.with_reset_after(reset_after);
        self
    }

    /// Whether the reset gate acts after the recurrent product of the new gate.
    pub fn reset_after(&self) -> bool {
        // Every cell of this kind has the argument.
        self.0.cell.reset_after().unwrap_or(true)
    }
}

impl<M: Module> Config<RnnKind, M> {
    /// Sets what is applied to the sum of the products: tanh, the default, or relu.
    #[must_use]
    pub fn with_nonlinearity(mut self, nonlinearity: Nonlinearity) -> Self {
        self.0.cell = self.0.cell.with_nonlinearity(nonlinearity);
        self
    }

    /// Returns the nonlinearity: tanh or relu.
    pub fn nonlinearity(&self) -> Nonlinearity {
        // Every cell of this kind has the argument.
        self.0.cell.nonlinearity().unwrap_or_default()
    }
}

impl<K: Kind, M: Module> Config<K, M> {
    /// Makes a configuration with PyTorch's defaults, from `input_size` features to `hidden_size` units: one forward
    /// layer with biases, time-major.
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        let KindCell(cell) = K::CELL;
        Self::of(RecurrentConfig::one_layer(cell, input_size, hidden_size))
    }

    /// `config` is of this kind, and of one layer for a cell.
    pub(crate) fn of(config: RecurrentConfig) -> Self {
        Self(config, PhantomData)
    }

    /// Sets whether there are the biases `bias_ih` and `bias_hh`; by default there are.
    #[must_use]
    pub fn with_bias(mut self, bias: bool) -> Self {
        self.0.bias = bias;
        self
    }

    /// Returns I, the features of the input.
    pub fn input_size(&self) -> usize {
        self.0.input_size
    }

    /// Returns H, the units of a layer and direction, or of a cell.
    pub fn hidden_size(&self) -> usize {
        self.0.hidden_size
    }

    /// Returns whether there are biases.
    pub fn bias(&self) -> bool {
        self.0.bias
    }
}

impl<K: Kind> Config<K> {
    /// Sets L: layers stacked on each other, each fed with the output of the one below; 1 by default.
    #[must_use]
    pub fn with_num_layers(mut self, num_layers: usize) -> Self {
        self.0.num_layers = num_layers;
        self
    }

    /// Sets whether batched input and output are `[B, T, ·]` instead of `[T, B, ·]`. States keep their shape, and
    /// unbatched input is `[T, I]` either way: PyTorch's rule.
    #[must_use]
    pub fn with_batch_first(mut self, batch_first: bool) -> Self {
        self.0.batch_first = batch_first;
        self
    }

    /// Sets p: the probability with which an element of a layer's output is dropped, for all layers but the last, in
    /// [training mode](crate::Mode::Training) alone; 0 to 1, 0 by default. What stays is scaled by 1/(1−p).
    #[must_use]
    pub fn with_dropout(mut self, dropout: f64) -> Self {
        self.0.dropout = dropout;
        self
    }

    /// Sets whether a second direction of each layer runs from the end of the sequence to its start.
    #[must_use]
    pub fn with_bidirectional(mut self, bidirectional: bool) -> Self {
        self.0.bidirectional = bidirectional;
        self
    }

    /// Returns L, the layers stacked on each other.
    pub fn num_layers(&self) -> usize {
        self.0.num_layers
    }

    /// Returns whether batched input and output are `[B, T, ·]`.
    pub fn batch_first(&self) -> bool {
        self.0.batch_first
    }

    /// Returns p, the probability with which an element between two layers is dropped in training mode.
    pub fn dropout(&self) -> f64 {
        self.0.dropout
    }

    /// Returns whether each layer has a second direction.
    pub fn bidirectional(&self) -> bool {
        self.0.bidirectional
    }

    /// Returns D: 2 if bidirectional, else 1.
    pub fn directions(&self) -> usize {
        self.0.directions()
    }

    /// Returns P, the size of h and of a direction's output; H without a projection.
    pub fn recurrent_size(&self) -> usize {
        self.0.recurrent_size()
    }

    /// Returns D·P, the features of the output. Sizes that cannot be addressed are given as `usize::MAX`.
    pub fn output_size(&self) -> usize {
        self.0.output_size()
    }

    /// Returns an output `[…, D·P]` seen as `[…, D, P]`: forward at 0, reverse at 1 of the dimension before the last
    /// (`output.view(T, B, D, H)` of PyTorch's documentation).
    ///
    /// # Errors
    /// [`Error::Shape`] when the last dimension is not D·P.
    pub fn split_output<'a, F: Real>(&self, output: &'a Tensor<F>) -> Result<TensorView<'a, F>> {
        let expected = self.0.output_size();
        let (Some((&last, outer)), 2..=3) = (output.shape().split_last(), output.shape().len()) else {
            return Err(shape_error("output", format!("[T, B, {expected}] or [T, {expected}]"), output));
        };
        // A size that is too large for a number is no array's.
        if self.directions().checked_mul(self.recurrent_size()) != Some(last) {
            return Err(shape_error("output", format!("[…, {expected}]"), output));
        }
        output.view([outer, &[self.directions(), self.recurrent_size()]].concat())
    }

    /// Returns a state `[L·D, …]` (`h` or `c`) seen as `[L, D, …]` (`h_n.view(L, D, B, H)` of PyTorch's documentation).
    ///
    /// # Errors
    /// [`Error::Shape`] when the first dimension is not L·D or the last is neither H nor P.
    pub fn split_state<'a, F: Real>(&self, state: &'a Tensor<F>) -> Result<TensorView<'a, F>> {
        let (layers, h, p) = (self.0.layers_and_directions(), self.hidden_size(), self.recurrent_size());
        match state.shape() {
            [first, inner @ .., last]
                if self.num_layers().checked_mul(self.directions()) == Some(*first)
                    && [h, p].contains(last)
                    && inner.len() <= 1 =>
            {
                state.view([&[self.num_layers(), self.directions()], &state.shape()[1..]].concat())
            }
            _ => Err(shape_error("state", format!("[{layers}, B, {h}] or [{layers}, {h}]"), state)),
        }
    }
}

fn shape_error<F: Real>(what: &str, expected: String, got: &Tensor<F>) -> Error {
    Error::Shape { what: what.to_owned(), expected, got: got.shape().to_vec() }
}

/// As `print(module)` in PyTorch, in Rust's spelling: sizes, then what differs from the defaults.
impl<K: Kind, M: Module> std::fmt::Display for Config<K, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.print(f, M::SUFFIX)
    }
}
