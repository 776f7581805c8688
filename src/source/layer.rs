//! What a file says about its layers, before one is loaded.

use std::fmt;

#[cfg(any(feature = "onnx", feature = "keras"))]
use crate::config::RecurrentConfig;
use crate::weights::inventory::LayerKind;

/// A recurrent layer in a [`Source`](crate::Source).
///
/// Displays with its name first: `encoder: LSTM(80, 512, bidirectional=true), merge_mode=sum`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SourceLayer {
    /// The name: of an ONNX node its own or that of its first output; of nodes that form one deep layer those of the
    /// first and the last with ".." between them; of a Keras layer its own; of a bag of tensors the prefix of theirs.
    pub name: String,
    /// The kind, unless the file does not tell it (weights-only files of Keras).
    pub kind: Option<LayerKind>,
    /// I: the number of features of the input, if the file tells it.
    pub input_size: Option<usize>,
    /// H: the number of units, if the file tells it.
    pub hidden_size: Option<usize>,
    /// L: the number of layers.
    pub num_layers: usize,
    /// D: the number of directions.
    pub directions: usize,
    /// True if the file has the weights alone: what they do not tell, such as the nonlinearity of an RNN, is PyTorch's
    /// or Keras's default, unless the file records it beside them.
    pub weights_only: bool,
    /// What is special about the layer, and why it cannot be loaded if it cannot.
    pub notes: Vec<String>,
    /// The layer in PyTorch's words.
    pub(crate) text: String,
}

impl SourceLayer {
    /// Describes a layer of a known configuration.
    #[cfg(any(feature = "onnx", feature = "keras"))]
    pub(crate) fn new(name: String, config: &RecurrentConfig, notes: Vec<String>) -> Self {
        Self {
            name,
            kind: Some(LayerKind::of(config.cell)),
            input_size: Some(config.input_size).filter(|&size| size > 0),
            hidden_size: Some(config.hidden_size).filter(|&size| size > 0),
            num_layers: config.num_layers,
            directions: config.directions(),
            weights_only: false,
            notes,
            text: if config.input_size > 0 { config.to_string() } else { config.to_string().replacen("(0,", "(?,", 1) },
        }
    }
}

impl fmt::Display for SourceLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_str() {
            "" => f.write_str("\"\"")?,
            // A line stays a line, whatever is in a file.
            name if name.chars().any(char::is_control) => write!(f, "{}", name.escape_debug())?,
            name => f.write_str(name)?,
        }
        write!(f, ": {}", self.text)?;
        self.notes.iter().try_for_each(|note| write!(f, ", {note}"))
    }
}
