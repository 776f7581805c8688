//! What a recurrent layer is, before it has weights or a device.

use crate::cell::CellKind;
use crate::tensor::element_count;
use crate::{Error, Real, Result, Tensor, TensorView};

/// What every recurrent layer has in common. Public types wrap it, so that one engine runs all cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecurrentConfig {
    pub(crate) cell: CellKind,
    pub(crate) input_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) num_layers: usize,
    pub(crate) bias: bool,
    pub(crate) batch_first: bool,
    pub(crate) bidirectional: bool,
}

impl RecurrentConfig {
    /// D.
    pub(crate) fn directions(&self) -> usize {
        if self.bidirectional { 2 } else { 1 }
    }

    /// G·H, the rows of a layer's weights.
    pub(crate) fn gate_rows(&self) -> usize {
        self.cell.gates() * self.hidden_size
    }

    /// D·H, the features of a layer's output.
    pub(crate) fn output_size(&self) -> usize {
        self.directions() * self.hidden_size
    }

    /// I of layer `layer`: the model's for the first, the output of the layer below for the others.
    pub(crate) fn layer_input_size(&self, layer: usize) -> usize {
        if layer == 0 { self.input_size } else { self.output_size() }
    }

    /// Every (layer, direction) in the order of weights and states: index = layer·D + direction.
    pub(crate) fn layer_directions(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let directions = self.directions();
        (0..self.num_layers).flat_map(move |layer| (0..directions).map(move |d| (layer, d)))
    }

    /// PyTorch's constructor rules, and sizes that can be addressed, so that later products of sizes cannot overflow.
    pub(crate) fn validate<F: Real>(&self) -> Result<()> {
        for (argument, value) in
            [("input_size", self.input_size), ("hidden_size", self.hidden_size), ("num_layers", self.num_layers)]
        {
            if value == 0 {
                return Err(Error::Config { argument, expected: "a size > 0", got: value.to_string() });
            }
        }
        let widest = self.input_size.max(self.hidden_size.saturating_mul(2));
        let all = [self.num_layers, self.directions(), self.cell.gates(), self.hidden_size, widest];
        element_count::<F>("the weights of the model", &all).map(|_| ())
    }
}

/// The configuration of an LSTM: `torch.nn.LSTM`'s arguments by the same names and with the same defaults.
///
/// Sizes are checked when a model is made from the configuration ([`Lstm::new`](crate::Lstm::new),
/// [`Lstm::random`](crate::Lstm::random)): each must be > 0.
///
/// ```
/// use wgpu_rnn::LstmConfig;
///
/// let config = LstmConfig::new(100, 20).num_layers(4).bidirectional(true);
/// assert_eq!(config.directions(), 2);
/// assert_eq!(config.to_string(), "LSTM(100, 20, num_layers=4, bidirectional=true)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LstmConfig(pub(crate) RecurrentConfig);

impl LstmConfig {
    /// One forward layer with biases, time-major, from `input_size` features to `hidden_size` units.
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        Self(RecurrentConfig {
            cell: CellKind::Lstm,
            input_size,
            hidden_size,
            num_layers: 1,
            bias: true,
            batch_first: false,
            bidirectional: false,
        })
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

    /// Whether batched input and output are `[B, T, ·]`.
    pub fn is_batch_first(&self) -> bool {
        self.0.batch_first
    }

    /// An output `[…, D·H]` seen as `[…, D, H]`: forward at 0, reverse at 1 of the dimension before the last
    /// (`output.view(T, B, D, H)` of PyTorch's documentation).
    ///
    /// # Errors
    /// [`Error::Shape`] when the last dimension is not D·H.
    pub fn split_output<'a, F: Real>(&self, output: &'a Tensor<F>) -> Result<TensorView<'a, F>> {
        let expected = self.0.output_size();
        let (Some((&last, outer)), 2..=3) = (output.shape().split_last(), output.shape().len()) else {
            return Err(shape_error("output", format!("[T, B, {expected}] or [T, {expected}]"), output));
        };
        if last != expected {
            return Err(shape_error("output", format!("[…, {expected}]"), output));
        }
        output.view([outer, &[self.directions(), self.hidden_size()]].concat())
    }

    /// A state `[L·D, …]` (`h` or `c`) seen as `[L, D, …]` (`h_n.view(L, D, B, H)` of PyTorch's documentation).
    ///
    /// # Errors
    /// [`Error::Shape`] when the first dimension is not L·D or the last is not H.
    pub fn split_state<'a, F: Real>(&self, state: &'a Tensor<F>) -> Result<TensorView<'a, F>> {
        let (layers, h) = (self.layer_count() * self.directions(), self.hidden_size());
        match state.shape() {
            [first, inner @ .., last] if *first == layers && *last == h && inner.len() <= 1 => {
                state.view([&[self.layer_count(), self.directions()], &state.shape()[1..]].concat())
            }
            _ => Err(shape_error("state", format!("[{layers}, B, {h}] or [{layers}, {h}]"), state)),
        }
    }
}

fn shape_error<F: Real>(what: &str, expected: String, got: &Tensor<F>) -> Error {
    Error::Shape { what: what.to_owned(), expected, got: got.shape().to_vec() }
}

/// As `print(module)` shows it in PyTorch: sizes, then what differs from the defaults.
impl std::fmt::Display for LstmConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let c = &self.0;
        write!(f, "{}({}, {}", c.cell.name(), c.input_size, c.hidden_size)?;
        if c.num_layers != 1 {
            write!(f, ", num_layers={}", c.num_layers)?;
        }
        for (name, value, default) in
            [("bias", c.bias, true), ("batch_first", c.batch_first, false), ("bidirectional", c.bidirectional, false)]
        {
            if value != default {
                write!(f, ", {name}={value}")?;
            }
        }
        write!(f, ")")
    }
}
