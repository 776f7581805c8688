//! The configuration of a recurrent layer, before it has weights or a device.

use crate::cell_kind::{CellKind, Nonlinearity};
use crate::error::{Error, Result};
use crate::form::Form;
use crate::memory::element_count;
use crate::real::Real;

/// The configuration common to all recurrent layers. Public types wrap it, so that one engine runs all cells.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RecurrentConfig {
    pub(crate) cell: CellKind,
    pub(crate) input_size: usize,
    pub(crate) hidden_size: usize,
    /// P if h is projected, otherwise 0; LSTM only.
    pub(crate) proj_size: usize,
    pub(crate) num_layers: usize,
    pub(crate) bias: bool,
    pub(crate) batch_first: bool,
    /// p, in training mode
    pub(crate) dropout: f64,
    pub(crate) bidirectional: bool,
    /// True if the only direction is the reverse one.
    pub(crate) reverse: bool,
    /// What differs from PyTorch's layers.
    pub(crate) form: Form,
}

impl RecurrentConfig {
    /// Returns the configuration of one forward layer with PyTorch's defaults.
    pub(crate) fn one_layer(cell: CellKind, input_size: usize, hidden_size: usize) -> Self {
        Self {
            cell,
            input_size,
            hidden_size,
            proj_size: 0,
            num_layers: 1,
            bias: true,
            batch_first: false,
            dropout: 0.0,
            bidirectional: false,
            reverse: false,
            form: Form::default(),
        }
    }

    /// Returns the same layer with what is PyTorch's called so, so that PyTorch's kernels run it.
    pub(crate) fn canonical(self) -> Self {
        let (cell, form) = self.form.canonical(self.cell);
        Self { cell, form, ..self }
    }

    /// Returns the number of layers whose input dropout acts on; 0 if it never acts.
    pub(crate) fn dropped_layers(&self) -> usize {
        if self.dropout > 0.0 { self.num_layers.saturating_sub(1) } else { 0 }
    }

    /// Returns D: 2 if bidirectional, otherwise 1.
    pub(crate) fn directions(&self) -> usize {
        if self.bidirectional { 2 } else { 1 }
    }

    // Products of sizes saturate, because the sizes of a configuration that has not been validated are arbitrary.

    /// Returns G·H, the rows of a layer's weights.
    pub(crate) fn gate_rows(&self) -> usize {
        self.cell.gates().saturating_mul(self.hidden_size)
    }

    /// Returns true if h is projected from H values to fewer.
    pub(crate) fn is_projected(&self) -> bool {
        self.proj_size > 0
    }

    /// Returns P: the size of h, which is H without a projection.
    pub(crate) fn recurrent_size(&self) -> usize {
        if self.is_projected() { self.proj_size } else { self.hidden_size }
    }

    /// Returns D·P, the features of a layer's output.
    pub(crate) fn output_size(&self) -> usize {
        self.directions().saturating_mul(self.recurrent_size())
    }

    /// Returns the features of state number `state` of the cell's table: P for h, H for any other state.
    pub(crate) fn state_size(&self, state: usize) -> usize {
        if state == 0 { self.recurrent_size() } else { self.hidden_size }
    }

    /// Returns the letter that [`state_size`](Self::state_size) goes by: "P" or "H".
    pub(crate) fn state_letter(&self, state: usize) -> &'static str {
        if state == 0 && self.is_projected() { "P" } else { "H" }
    }

    /// Returns I of layer `layer`: the model's for the first, the output size of the layer below for the others.
    pub(crate) fn layer_input_size(&self, layer: usize) -> usize {
        if layer == 0 { self.input_size } else { self.output_size() }
    }

    /// Returns the largest number of features that a layer reads.
    pub(crate) fn widest_input(&self) -> usize {
        if self.num_layers > 1 { self.input_size.max(self.output_size()) } else { self.input_size }
    }

    /// Returns L·D: the number of (layer, direction) pairs, which is the first dimension of a state.
    pub(crate) fn layers_and_directions(&self) -> usize {
        self.num_layers.saturating_mul(self.directions())
    }

    /// Returns every (layer, direction) in the order of weights and states: index = layer·D + direction.
    pub(crate) fn layer_directions(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let directions = self.directions();
        (0..self.num_layers).flat_map(move |layer| (0..directions).map(move |d| (layer, d)))
    }

    /// Checks PyTorch's rules for the constructor, and that sizes can be addressed, so that later products of sizes
    /// cannot overflow.
    pub(crate) fn validate<F: Real>(&self) -> Result<()> {
        for (argument, value) in
            [("input_size", self.input_size), ("hidden_size", self.hidden_size), ("num_layers", self.num_layers)]
        {
            if value == 0 {
                return Err(Error::Config { argument, expected: "a size > 0", got: value.to_string() });
            }
        }
        if self.is_projected() && self.proj_size >= self.hidden_size {
            let expected = "a size below hidden_size, or 0 for no projection";
            return Err(Error::Config { argument: "proj_size", expected, got: self.proj_size.to_string() });
        }
        if !(0.0..=1.0).contains(&self.dropout) {
            let expected = "a probability from 0 to 1";
            return Err(Error::Config { argument: "dropout", expected, got: self.dropout.to_string() });
        }
        if self.reverse && self.bidirectional {
            let expected = "false for a bidirectional layer, which has both directions";
            return Err(Error::Config { argument: "reverse", expected, got: "true".to_owned() });
        }
        self.form.validate(self.cell, self.directions())?;
        if self.dropout > 0.0 && self.num_layers == 1 {
            log::warn!("{self}: dropout acts after each layer except the last, and there is only one layer");
        }
        let widest = self.input_size.max(self.hidden_size.saturating_mul(2));
        let all = [self.num_layers, self.directions(), self.cell.gates(), self.hidden_size, widest];
        element_count::<F>("the weights of the model", &all).map(|_| ())
    }
}

/// Prints like `print(module)` in PyTorch, in Rust's spelling: sizes, then the arguments that differ from the defaults.
impl std::fmt::Display for RecurrentConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.print(f, "")
    }
}

impl RecurrentConfig {
    /// Prints the configuration with a suffix to the module's name: "" for a layer, "Cell" for a cell.
    pub(crate) fn print(&self, f: &mut std::fmt::Formatter<'_>, suffix: &str) -> std::fmt::Result {
        let c = self;
        write!(f, "{}{suffix}({}, {}", c.cell.name(), c.input_size, c.hidden_size)?;
        if c.num_layers != 1 {
            write!(f, ", num_layers={}", c.num_layers)?;
        }
        if c.is_projected() {
            write!(f, ", proj_size={}", c.proj_size)?;
        }
        if !c.bias {
            write!(f, ", bias=false")?;
        }
        if c.batch_first {
            write!(f, ", batch_first=true")?;
        }
        if c.dropout != 0.0 {
            write!(f, ", dropout={}", c.dropout)?;
        }
        if c.bidirectional {
            write!(f, ", bidirectional=true")?;
        }
        if c.reverse {
            write!(f, ", reverse=true")?;
        }
        if let Some(Nonlinearity::Relu) = c.cell.nonlinearity() {
            write!(f, ", nonlinearity=relu")?;
        }
        if let Some(false) = c.cell.reset_after() {
            write!(f, ", reset_after=false")?;
        }
        write!(f, "{})", c.form)
    }
}
