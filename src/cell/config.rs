//! What a cell is, before it has weights or a device.

use std::fmt;
use std::marker::PhantomData;

use crate::cell_kind::CellKind;
use crate::config::{Nonlinearity, RecurrentConfig};
use crate::layer::kind::{Kind, Recurrence, RnnKind};
use crate::weights::names::Naming;

/// The configuration of a cell: the arguments of `torch.nn.LSTMCell`, `GRUCell` or `RNNCell` by the same names and with the same
/// defaults. [`LstmCellConfig`](crate::LstmCellConfig), [`GruCellConfig`](crate::GruCellConfig) and
/// [`RnnCellConfig`](crate::RnnCellConfig) are its three kinds.
///
/// Sizes are checked when a cell is made from the configuration: each must be > 0.
///
/// ```
/// use wgpu_rnn::{Nonlinearity, RnnCellConfig};
///
/// let config = RnnCellConfig::new(10, 20).bias(false).nonlinearity(Nonlinearity::Relu);
/// assert_eq!(config.to_string(), "RNNCell(10, 20, bias=false, nonlinearity=relu)");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct CellConfig<K>(pub(super) RecurrentConfig, PhantomData<K>);

impl CellConfig<RnnKind> {
    /// What the cell applies to the sum of its products: tanh or relu.
    #[must_use]
    pub fn nonlinearity(mut self, nonlinearity: Nonlinearity) -> Self {
        self.0.cell = CellKind::Rnn(nonlinearity);
        self
    }
}

impl<K: Kind> CellConfig<K> {
    /// A cell with biases, from `input_size` features to `hidden_size` units.
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        let Recurrence(cell) = K::RECURRENCE;
        Self::of(RecurrentConfig::one_layer(cell, input_size, hidden_size))
    }

    /// `config` is of this kind, and of one layer.
    pub(super) fn of(config: RecurrentConfig) -> Self {
        Self(config, PhantomData)
    }

    /// Whether the cell has the biases `bias_ih` and `bias_hh`.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.0.bias = bias;
        self
    }

    /// I: features of the input.
    pub fn input_size(&self) -> usize {
        self.0.input_size
    }

    /// H: units of the cell.
    pub fn hidden_size(&self) -> usize {
        self.0.hidden_size
    }

    /// Whether the cell has biases.
    pub fn has_bias(&self) -> bool {
        self.0.bias
    }
}

/// As `print(module)` in PyTorch, in Rust's spelling.
impl<K: Kind> fmt::Display for CellConfig<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Naming::Cell.describe(&self.0))
    }
}
