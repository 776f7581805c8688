//! What a layer is, before it has weights or a device.

use std::marker::PhantomData;

use crate::cell_kind::CellKind;
use crate::config::{Nonlinearity, RecurrentConfig};
use crate::layer::kind::{GruKind, Kind, LstmKind, Recurrence, RnnKind};
use crate::{Error, Real, Result, Tensor, TensorView};

/// The configuration of a recurrent layer: the arguments of `torch.nn.LSTM`, `GRU` or `RNN` by the same names and with the same
/// defaults. [`LstmConfig`](crate::LstmConfig), [`GruConfig`](crate::GruConfig) and [`RnnConfig`](crate::RnnConfig) are its
/// three kinds.
///
/// Values are checked when a model is made from the configuration ([`Layer::new`](crate::Layer::new),
/// [`Layer::random`](crate::Layer::random)): sizes must be > 0, `proj_size` below `hidden_size`, `dropout` from 0 to 1.
///
/// ```
/// use wgpu_rnn::LstmConfig;
///
/// let config = LstmConfig::new(100, 20).num_layers(4).bidirectional(true);
/// assert_eq!(config.directions(), 2);
/// assert_eq!(config.to_string(), "LSTM(100, 20, num_layers=4, bidirectional=true)");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Config<K>(pub(crate) RecurrentConfig, PhantomData<K>);

impl Config<LstmKind> {
    /// P: h is projected from H values to this many, fewer than H (Sak et al. 2014); 0, the default, is no projection.
    #[must_use]
    pub fn proj_size(mut self, proj_size: usize) -> Self {
        self.0.proj_size = proj_size;
        self
    }
}

impl Config<GruKind> {
    /// Places the reset gate: after the recurrent product of the new gate (true, PyTorch's GRU and the default), or before it
    /// (`reset_after=False` of Keras, `linear_before_reset=0` of ONNX; Cho et al. 2014):
    ///
    /// ```text
    /// after    n = tanh(W_in·x + b_in + r ⊙ (W_hn·h + b_hn))
    /// before   n = tanh(W_in·x + b_in + W_hn·(r ⊙ h) + b_hn)
    /// ```
    ///
    /// Weights do not record it. Steps of the second form have two products, and on a GPU two dispatches.
    #[must_use]
    pub fn with_reset_after(mut self, reset_after: bool) -> Self {
        self.0.cell = if reset_after { CellKind::Gru } else { CellKind::GruResetBefore };
        self
    }

    /// Whether the reset gate acts after the recurrent product.
    pub fn reset_after(&self) -> bool {
        self.0.cell == CellKind::Gru
    }
}

impl Config<RnnKind> {
    /// What the layer applies to the sum of its products: tanh or relu.
    #[must_use]
    pub fn nonlinearity(mut self, nonlinearity: Nonlinearity) -> Self {
        self.0.cell = CellKind::Rnn(nonlinearity);
        self
    }
}

impl<K: Kind> Config<K> {
    /// One forward layer with biases, time-major, from `input_size` features to `hidden_size` units.
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        let Recurrence(cell) = K::RECURRENCE;
        Self::of(RecurrentConfig::one_layer(cell, input_size, hidden_size))
    }

    /// `config` is of this kind.
    pub(crate) fn of(config: RecurrentConfig) -> Self {
        Self(config, PhantomData)
    }

    /// L: layers stacked on each other, each fed with the output of the one below.
    #[must_use]
    pub fn num_layers(mut self, num_layers: usize) -> Self {
        self.0.num_layers = num_layers;
        self
    }

    /// Whether the layers have the biases `bias_ih` and `bias_hh`.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.0.bias = bias;
        self
    }

    /// Whether batched input and output are `[B, T, ·]` in place of `[T, B, ·]`. States keep their shape, and unbatched
    /// input is `[T, I]` either way: PyTorch's rule.
    #[must_use]
    pub fn batch_first(mut self, batch_first: bool) -> Self {
        self.0.batch_first = batch_first;
        self
    }

    /// p: the probability with which an element of a layer's output is dropped, for all layers but the last, in
    /// [training mode](crate::Mode::Training) alone; 0 to 1, 0 by default. What stays is scaled by 1/(1−p).
    #[must_use]
    pub fn dropout(mut self, dropout: f64) -> Self {
        self.0.dropout = dropout;
        self
    }

    /// Whether a second direction of each layer runs from the end of the sequence to its start.
    #[must_use]
    pub fn bidirectional(mut self, bidirectional: bool) -> Self {
        self.0.bidirectional = bidirectional;
        self
    }

    /// I: features of the input.
    pub fn input_size(&self) -> usize {
        self.0.input_size
    }

    /// H: units of a layer and direction.
    pub fn hidden_size(&self) -> usize {
        self.0.hidden_size
    }

    /// P: the size of h and of a direction's output; H without a projection.
    pub fn recurrent_size(&self) -> usize {
        self.0.recurrent_size()
    }

    /// L.
    pub fn layer_count(&self) -> usize {
        self.0.num_layers
    }

    /// D: 2 if bidirectional, else 1.
    pub fn directions(&self) -> usize {
        self.0.directions()
    }

    /// Whether the layers have biases.
    pub fn has_bias(&self) -> bool {
        self.0.bias
    }

    /// p of [`dropout`](Self::dropout).
    pub fn dropout_probability(&self) -> f64 {
        self.0.dropout
    }

    /// Whether batched input and output are `[B, T, ·]`.
    pub fn is_batch_first(&self) -> bool {
        self.0.batch_first
    }

    /// An output `[…, D·P]` seen as `[…, D, P]`: forward at 0, reverse at 1 of the dimension before the last
    /// (`output.view(T, B, D, H)` of PyTorch's documentation).
    ///
    /// # Errors
    /// [`Error::Shape`] when the last dimension is not D·P.
    pub fn split_output<'a, F: Real>(&self, output: &'a Tensor<F>) -> Result<TensorView<'a, F>> {
        let expected = self.0.output_size();
        let (Some((&last, outer)), 2..=3) = (output.shape().split_last(), output.shape().len()) else {
            return Err(shape_error("output", format!("[T, B, {expected}] or [T, {expected}]"), output));
        };
        if last != expected {
            return Err(shape_error("output", format!("[…, {expected}]"), output));
        }
        output.view([outer, &[self.directions(), self.recurrent_size()]].concat())
    }

    /// A state `[L·D, …]` (`h` or `c`) seen as `[L, D, …]` (`h_n.view(L, D, B, H)` of PyTorch's documentation).
    ///
    /// # Errors
    /// [`Error::Shape`] when the first dimension is not L·D or the last is neither H nor P.
    pub fn split_state<'a, F: Real>(&self, state: &'a Tensor<F>) -> Result<TensorView<'a, F>> {
        let (layers, h, p) = (self.layer_count() * self.directions(), self.hidden_size(), self.recurrent_size());
        match state.shape() {
            [first, inner @ .., last] if *first == layers && [h, p].contains(last) && inner.len() <= 1 => {
                state.view([&[self.layer_count(), self.directions()], &state.shape()[1..]].concat())
            }
            _ => Err(shape_error("state", format!("[{layers}, B, {h}] or [{layers}, {h}]"), state)),
        }
    }
}

fn shape_error<F: Real>(what: &str, expected: String, got: &Tensor<F>) -> Error {
    Error::Shape { what: what.to_owned(), expected, got: got.shape().to_vec() }
}

/// As `print(module)` in PyTorch, in Rust's spelling: sizes, then what differs from the defaults.
impl<K: Kind> std::fmt::Display for Config<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
