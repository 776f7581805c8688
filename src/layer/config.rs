//! The configuration of a layer or cell, before it has weights or a device.

use std::marker::PhantomData;

use crate::activation::Activation;
use crate::cell_kind::Nonlinearity;
use crate::config::RecurrentConfig;
use crate::error::{Error, Result};
use crate::layer::kind::{GruKind, Kind, KindCell, LstmKind, RnnKind};
use crate::real::Real;
use crate::tensor::{Tensor, TensorView};

/// The configuration of a recurrent layer or cell: the arguments of `torch.nn.LSTM`, `GRU`, `RNN`, `LSTMCell`,
/// `GRUCell` or `RNNCell` by the same names and with the same defaults. `with_…` sets an argument; the name alone reads
/// it.
///
/// [`LstmConfig`](crate::LstmConfig), [`GruConfig`](crate::GruConfig) and [`RnnConfig`](crate::RnnConfig) are for
/// layers, [`LstmCellConfig`](crate::LstmCellConfig), [`GruCellConfig`](crate::GruCellConfig) and
/// [`RnnCellConfig`](crate::RnnCellConfig) for cells, which have the size of one layer.
///
/// Values are checked when a model is created from the configuration ([`Layer::new`](crate::Layer::new),
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

/// The modules that a [`Config`] can be for: [`ForLayer`] and [`ForCell`]. Sealed.
pub trait Module: sealed::Sealed + Clone + std::fmt::Debug + PartialEq + Send + Sync + 'static {
    #[doc(hidden)]
    const SUFFIX: &'static str;
}

/// Marks the configuration of a [`Layer`](crate::Layer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForLayer {}

/// Marks the configuration of a [`Cell`](crate::Cell).
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
    /// Sets P: h is projected from H values to this many, which must be fewer than H (Sak et al. 2014); 0, the default,
    /// means no projection.
    #[must_use]
    pub fn with_proj_size(mut self, proj_size: usize) -> Self {
        self.0.proj_size = proj_size;
        self
    }

    /// Returns P if h is projected, otherwise 0.
    pub fn proj_size(&self) -> usize {
        self.0.proj_size
    }

    /// Sets whether the forget gate is `1 - i`, as with ONNX's `input_forget`; its own weights are then not used. By
    /// default it is a gate of its own.
    #[must_use]
    pub fn with_input_forget(mut self, input_forget: bool) -> Self {
        self.0.form.input_forget = input_forget;
        self
    }

    /// Sets whether the gates see the cell state through peepholes (Gers and Schmidhuber 2000), as with ONNX's input P:
    /// i and f see c before the step, o sees c after it. By default they do not.
    #[must_use]
    pub fn with_peepholes(mut self, peepholes: bool) -> Self {
        self.0.form.peepholes = peepholes;
        self
    }

    /// Returns true if the forget gate is `1 - i`.
    pub fn input_forget(&self) -> bool {
        self.0.form.input_forget
    }

    /// Returns true if the gates see the cell state.
    pub fn peepholes(&self) -> bool {
        self.0.form.peepholes
    }
}

impl<M: Module> Config<GruKind, M> {
    /// Sets the position of the reset gate: after the recurrent product of the new gate (true, the default, as in
    /// PyTorch's GRU), or before it (`reset_after=False` of Keras, `linear_before_reset=0` of ONNX; Cho et al. 2014):
    ///
    /// ```text
    /// after    n = tanh(W_in·x + b_in + r ⊙ (W_hn·h + b_hn))
    /// before   n = tanh(W_in·x + b_in + W_hn·(r ⊙ h) + b_hn)
    /// ```
    ///
    /// Weights do not record it. A step of the second form has two products, and thus two dispatches on a GPU:
    /// neither [`Strategy::Sequence`](crate::Strategy::Sequence) nor
    /// [`Strategy::Wavefront`](crate::Strategy::Wavefront) runs it.
    #[must_use]
    pub fn with_reset_after(mut self, reset_after: bool) -> Self {
        self.0.cell = self.0.cell.with_reset_after(reset_after);
        self
    }

    /// Returns true if the reset gate acts after the recurrent product of the new gate.
    pub fn reset_after(&self) -> bool {
        // Every cell of this kind has the argument.
        self.0.cell.reset_after().unwrap_or(true)
    }
}

impl<M: Module> Config<RnnKind, M> {
    /// Sets the function that is applied to the sum of the products: tanh, the default, or relu.
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
    /// Creates a configuration with PyTorch's defaults, from `input_size` features to `hidden_size` units: one forward
    /// layer with biases, time-major.
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        let KindCell(cell) = K::CELL;
        Self::of(RecurrentConfig::one_layer(cell, input_size, hidden_size))
    }

    /// Wraps a configuration, which must be of this kind and, for a cell, of one layer.
    pub(crate) fn of(config: RecurrentConfig) -> Self {
        Self(config, PhantomData)
    }

    /// Sets whether the biases `bias_ih` and `bias_hh` exist; by default they do.
    #[must_use]
    pub fn with_bias(mut self, bias: bool) -> Self {
        self.0.bias = bias;
        self
    }

    /// Returns I, the number of features of the input.
    pub fn input_size(&self) -> usize {
        self.0.input_size
    }

    /// Returns H, the number of units per layer and direction, or of a cell.
    pub fn hidden_size(&self) -> usize {
        self.0.hidden_size
    }

    /// Returns true if there are biases.
    pub fn bias(&self) -> bool {
        self.0.bias
    }
}

impl<K: Kind> Config<K> {
    /// Sets L: the number of stacked layers, each fed with the output of the one below; 1 by default.
    #[must_use]
    pub fn with_num_layers(mut self, num_layers: usize) -> Self {
        self.0.num_layers = num_layers;
        self
    }

    /// Sets whether batched input and output are `[B, T, ·]` instead of `[T, B, ·]`. As in PyTorch, states keep their
    /// shape, and unbatched input is `[T, I]` either way.
    #[must_use]
    pub fn with_batch_first(mut self, batch_first: bool) -> Self {
        self.0.batch_first = batch_first;
        self
    }

    /// Sets p: the probability with which an element of a layer's output is dropped, for all layers except the last and
    /// only in [training mode](crate::Mode::Training); 0 to 1, 0 by default. Kept elements are scaled by 1/(1−p).
    #[must_use]
    pub fn with_dropout(mut self, dropout: f64) -> Self {
        self.0.dropout = dropout;
        self
    }

    /// Sets whether each layer has a second direction, which runs from the end of the sequence to its start.
    #[must_use]
    pub fn with_bidirectional(mut self, bidirectional: bool) -> Self {
        self.0.bidirectional = bidirectional;
        self
    }

    /// Sets whether the only direction runs from the end of each row to its start, as with ONNX's `direction=reverse`.
    /// The output at a time step is that of the step that reads it, so it is in the order of the input.
    #[must_use]
    pub fn with_reverse(mut self, reverse: bool) -> Self {
        self.0.reverse = reverse;
        self
    }

    /// Sets the functions of gates and cell state, as ONNX's `activations` does: f (of the gates), g (of the new value)
    /// and h (of the cell state) of an LSTM; f (of r and z) and g (of n) of a GRU; f of an RNN. They are given once, or
    /// for one direction after the other. None, the default, are PyTorch's.
    ///
    /// ```
    /// use wgpu_rnn::{Activation, LstmConfig};
    ///
    /// let gates = Activation::HardSigmoid { alpha: 0.2, beta: 0.5 }; // of Keras 2
    /// let config = LstmConfig::new(3, 4).with_activations([gates, Activation::Tanh, Activation::Tanh]);
    /// assert_eq!(config.to_string(), "LSTM(3, 4, activations=[HardSigmoid(0.2, 0.5), Tanh, Tanh])");
    /// ```
    ///
    /// A layer of a form that PyTorch lacks, which this option and [`with_clip`](Self::with_clip) select, and
    /// `with_peepholes` and `with_input_forget` of an LSTM, cannot be trained, and runs on the CPU without vectors.
    #[must_use]
    pub fn with_activations(mut self, activations: impl Into<Vec<Activation>>) -> Self {
        self.0.form.activations = activations.into();
        self
    }

    /// Sets the bound of the gates' pre-activations, as ONNX's `clip` does: they are limited to ±`clip`. By default
    /// they are not limited. The argument of the function of the cell state never is.
    #[must_use]
    pub fn with_clip(mut self, clip: impl Into<Option<f32>>) -> Self {
        self.0.form.clip = clip.into();
        self
    }

    /// Returns true if the only direction runs from the end of each row to its start.
    pub fn reverse(&self) -> bool {
        self.0.reverse
    }

    /// Returns the functions of gates and cell state, as they were set; none if they are PyTorch's.
    pub fn activations(&self) -> &[Activation] {
        &self.0.form.activations
    }

    /// Returns the bound of the gates' pre-activations.
    pub fn clip(&self) -> Option<f32> {
        self.0.form.clip
    }

    /// Returns L, the number of stacked layers.
    pub fn num_layers(&self) -> usize {
        self.0.num_layers
    }

    /// Returns true if batched input and output are `[B, T, ·]`.
    pub fn batch_first(&self) -> bool {
        self.0.batch_first
    }

    /// Returns p, the probability with which an element between two layers is dropped in training mode.
    pub fn dropout(&self) -> f64 {
        self.0.dropout
    }

    /// Returns true if each layer has a second direction.
    pub fn bidirectional(&self) -> bool {
        self.0.bidirectional
    }

    /// Returns D: 2 if bidirectional, otherwise 1.
    pub fn directions(&self) -> usize {
        self.0.directions()
    }

    /// Returns P, the size of h and of a direction's output; H without a projection.
    pub fn recurrent_size(&self) -> usize {
        self.0.recurrent_size()
    }

    /// Returns D·P, the number of features of the output, or `usize::MAX` if that overflows.
    pub fn output_size(&self) -> usize {
        self.0.output_size()
    }

    /// Returns a view of an output `[…, D·P]` as `[…, D, P]`: forward at 0, reverse at 1 of the second to last
    /// dimension (`output.view(T, B, D, H)` of PyTorch's documentation).
    ///
    /// # Errors
    /// [`Error::Shape`] if the last dimension is not D·P.
    pub fn split_output<'a, F: Real>(&self, output: &'a Tensor<F>) -> Result<TensorView<'a, F>> {
        let expected = self.0.output_size();
        let (Some((&last, outer)), 2..=3) = (output.shape().split_last(), output.shape().len()) else {
            return Err(shape_error("output", format!("[T, B, {expected}] or [T, {expected}]"), output));
        };
        // No array has a size that overflows.
        if self.directions().checked_mul(self.recurrent_size()) != Some(last) {
            return Err(shape_error("output", format!("[…, {expected}]"), output));
        }
        output.view([outer, &[self.directions(), self.recurrent_size()]].concat())
    }

    /// Returns a view of a state `[L·D, …]` (`h` or `c`) as `[L, D, …]` (`h_n.view(L, D, B, H)` of PyTorch's
    /// documentation).
    ///
    /// # Errors
    /// [`Error::Shape`] if the first dimension is not L·D or the last is neither H nor P.
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

/// Prints like `print(module)` in PyTorch, in Rust's spelling: sizes, then the arguments that differ from the defaults.
impl<K: Kind, M: Module> std::fmt::Display for Config<K, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.print(f, M::SUFFIX)
    }
}
