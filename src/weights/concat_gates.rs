//! LSTMs written by hand, with one Linear per gate over the concatenation `[x, h]`.

use std::path::Path;

use crate::cell_kind::{CellKind, lstm_gate};
use crate::config::RecurrentConfig;
use crate::error::{Error, Result};
use crate::memory::{collected, reserved};
use crate::real::Real;
use crate::tensor::Tensor;
use crate::weights::LayerWeights;
use crate::weights::tensor_file::TensorFile;

/// The `torch.nn.Linear` of one gate, over the concatenation `[x, h]`.
#[derive(Clone, Debug, PartialEq)]
pub struct GateLinear<F = f32> {
    /// `[H, I + H]`: columns 0..I belong to x, the rest to h.
    pub weight: Tensor<F>,
    /// `[H]`, or `None` for `bias=False`.
    pub bias: Option<Tensor<F>>,
}

/// One layer of a hand-written LSTM: `forget`, `input`, `output` and `cell` are each a [`GateLinear`] over `[x, h]`.
///
/// The columns split at I into `W_ih` and `W_hh`; the bias becomes `bias_ih`, and `bias_hh` is zero.
///
/// ```
/// use wgpu_rnn::{ConcatGates, Device, GateLinear, Lstm, Tensor};
///
/// // In PyTorch: self.forget = nn.Linear(I + H, H) and so on, applied to torch.cat([x, h], 1); here I = 3, H = 2.
/// let linear = |value: f32| -> Result<GateLinear, wgpu_rnn::Error> {
///     Ok(GateLinear { weight: Tensor::new([2, 5], [value; 10])?, bias: Some(Tensor::zeros([2])?) })
/// };
/// let gates = ConcatGates { forget: linear(0.1)?, input: linear(0.2)?, output: linear(0.3)?, cell: linear(0.4)? };
///
/// let lstm = Lstm::from_concat_gates(&[gates.clone()])?; // one entry per layer
/// assert_eq!(lstm.to_string(), "LSTM(3, 2)");
/// let (output, _) = lstm.to(&Device::cpu())?.forward(&Tensor::zeros([7, 3])?, None)?; // [T, I]
/// assert_eq!(output.shape(), [7, 2]);
/// assert_eq!(lstm.to_concat_gates()?, [gates]);
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ConcatGates<F = f32> {
    /// The forget gate, f.
    pub forget: GateLinear<F>,
    /// The input gate, i.
    pub input: GateLinear<F>,
    /// The output gate, o.
    pub output: GateLinear<F>,
    /// The cell candidate, g.
    pub cell: GateLinear<F>,
}

impl ConcatGates {
    /// Opens a file and reads the gates from it, like [`from_tensor_file`](Self::from_tensor_file).
    ///
    /// # Errors
    /// The errors of [`TensorFile::open`] and [`from_tensor_file`](Self::from_tensor_file).
    pub fn from_safetensors(path: impl AsRef<Path>, prefix: &str) -> Result<Self> {
        Self::from_tensor_file(&TensorFile::open(path)?, prefix)
    }

    /// Reads `{prefix}forget.weight`, `{prefix}forget.bias` and so on, as f32.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] if one of the four weights is missing; otherwise the errors of [`TensorFile::tensor`].
    pub fn from_tensor_file(file: &TensorFile, prefix: &str) -> Result<Self> {
        Self::from_tensor_file_as(file, prefix)
    }

    /// Does the same as [`from_tensor_file`](Self::from_tensor_file) in a given number type:
    /// `ConcatGates::from_tensor_file_as::<f64>(&file, prefix)`.
    ///
    /// # Errors
    /// The errors of [`from_tensor_file`](Self::from_tensor_file).
    pub fn from_tensor_file_as<F: Real>(file: &TensorFile, prefix: &str) -> Result<ConcatGates<F>> {
        ConcatGates::read(file, prefix)
    }
}

impl<F: Real> ConcatGates<F> {
    /// The gates' names in files, in the order of the fields.
    const NAMES: [&'static str; 4] = ["forget", "input", "output", "cell"];

    fn read(file: &TensorFile, prefix: &str) -> Result<Self> {
        let read = |gate: &str| {
            let name = format!("{prefix}{gate}.weight");
            let weight = file.weight(&name)?.ok_or_else(|| Error::MissingTensor {
                name,
                why: "a hand-written LSTM has the gates forget, input, output and cell".to_owned(),
            })?;
            Ok(GateLinear { weight, bias: file.weight(&format!("{prefix}{gate}.bias"))? })
        };
        let [forget, input, output, cell] = Self::NAMES;
        Ok(Self { forget: read(forget)?, input: read(input)?, output: read(output)?, cell: read(cell)? })
    }

    /// Writes the file that [`from_safetensors`](ConcatGates::from_safetensors) reads.
    ///
    /// # Errors
    /// The errors of [`TensorFile::save`].
    pub fn save_safetensors(&self, path: impl AsRef<Path>, prefix: &str) -> Result<()> {
        let mut tensors = Vec::new();
        for (name, gate) in Self::NAMES.iter().zip([&self.forget, &self.input, &self.output, &self.cell]) {
            tensors.push((format!("{prefix}{name}.weight"), &gate.weight));
            if let Some(bias) = &gate.bias {
                tensors.push((format!("{prefix}{name}.bias"), bias));
            }
        }
        TensorFile::save(path, &tensors)
    }

    /// Returns the gates in canonical order.
    fn canonical(&self) -> [(&'static str, &GateLinear<F>); 4] {
        let mut gates = [("", &self.forget); 4];
        gates[lstm_gate::INPUT] = ("input", &self.input);
        gates[lstm_gate::FORGET] = ("forget", &self.forget);
        gates[lstm_gate::CELL] = ("cell", &self.cell);
        gates[lstm_gate::OUTPUT] = ("output", &self.output);
        gates
    }

    /// Returns H and I of the forget gate, against which the others are checked.
    fn sizes(&self) -> Result<(usize, usize)> {
        match *self.forget.weight.shape() {
            [hidden, columns] if columns > hidden && hidden > 0 => Ok((hidden, columns - hidden)),
            ref got => Err(Error::Shape {
                what: "forget.weight".to_owned(),
                expected: "[H, I + H] with I > 0 and H > 0".to_owned(),
                got: got.to_vec(),
            }),
        }
    }

    /// Converts to canonical weights: rows of the four gates stacked, columns split at I.
    fn to_layer(&self) -> Result<LayerWeights<F>> {
        let (hidden, input) = self.sizes()?;
        let rows = CellKind::Lstm.gates() * hidden;
        let mut weight_ih = reserved("weight_ih", &[rows, input])?;
        let mut weight_hh = reserved("weight_hh", &[rows, hidden])?;
        let mut bias_ih = reserved("bias_ih", &[rows])?;
        for (name, gate) in self.canonical() {
            let check = |what: &str, got: &[usize], expected: &[usize]| {
                if got == expected {
                    return Ok(());
                }
                let (what, expected) = (format!("{name}.{what}"), format!("{expected:?}"));
                Err(Error::Shape { what, expected, got: got.to_vec() })
            };
            check("weight", gate.weight.shape(), &[hidden, input + hidden])?;
            for row in gate.weight.data().chunks_exact(input + hidden) {
                weight_ih.extend_from_slice(&row[..input]);
                weight_hh.extend_from_slice(&row[input..]);
            }
            if let Some(bias) = &gate.bias {
                check("bias", bias.shape(), &[hidden])?;
                bias_ih.extend_from_slice(bias.data());
            }
        }
        let layer = LayerWeights::new(Tensor::new([rows, input], weight_ih)?, Tensor::new([rows, hidden], weight_hh)?);
        match bias_ih.len() {
            0 => Ok(layer),
            n if n == rows => Ok(layer.with_bias(Tensor::new([rows], bias_ih)?, Tensor::zeros([rows])?)),
            _ => Err(Error::MissingTensor {
                name: "bias".to_owned(),
                why: "some of the four gates have a bias; either all or none must have one".to_owned(),
            }),
        }
    }

    /// Extracts the gates from canonical weights, adding the two biases together.
    fn from_layer(weights: &LayerWeights<F>, hidden: usize, input: usize) -> Result<Self> {
        let gate = |index: usize| {
            let rows = index * hidden..(index + 1) * hidden;
            let mut weight = reserved("weight", &[hidden, input + hidden])?;
            for row in rows.clone() {
                weight.extend_from_slice(&weights.weight_ih().data()[row * input..(row + 1) * input]);
                weight.extend_from_slice(&weights.weight_hh().data()[row * hidden..(row + 1) * hidden]);
            }
            let bias = match (weights.bias_ih(), weights.bias_hh()) {
                (Some(ih), Some(hh)) => {
                    let sum = collected("bias", hidden, rows.map(|row| ih.data()[row] + hh.data()[row]))?;
                    Some(Tensor::new([hidden], sum)?)
                }
                _ => None,
            };
            Ok(GateLinear { weight: Tensor::new([hidden, input + hidden], weight)?, bias })
        };
        Ok(Self {
            forget: gate(lstm_gate::FORGET)?,
            input: gate(lstm_gate::INPUT)?,
            output: gate(lstm_gate::OUTPUT)?,
            cell: gate(lstm_gate::CELL)?,
        })
    }
}

/// Returns the configuration and canonical weights of stacked layers, first layer first.
pub(crate) fn import<F: Real>(layers: &[ConcatGates<F>]) -> Result<(RecurrentConfig, Vec<LayerWeights<F>>)> {
    let first = layers.first().ok_or(Error::Config {
        argument: "layers",
        expected: "at least one layer",
        got: "none".to_owned(),
    })?;
    let (hidden_size, input_size) = first.sizes()?;
    let weights = layers.iter().map(ConcatGates::to_layer).collect::<Result<Vec<_>>>()?;
    let config = RecurrentConfig {
        num_layers: layers.len(),
        bias: weights[0].bias_ih().is_some(),
        ..RecurrentConfig::one_layer(CellKind::Lstm, input_size, hidden_size)
    };
    Ok((config, weights))
}

/// Returns the gates of every layer of a unidirectional model.
pub(crate) fn export<F: Real>(config: &RecurrentConfig, weights: &[LayerWeights<F>]) -> Result<Vec<ConcatGates<F>>> {
    if config.bidirectional {
        return Err(Error::Unsupported {
            what: "a bidirectional model as one Linear per gate".to_owned(),
            why: "the hand-written form has one direction".to_owned(),
        });
    }
    if config.reverse || !config.form.is_plain() {
        return Err(Error::Unsupported {
            what: format!("{config} as one Linear per gate"),
            why: "the hand-written form is PyTorch's, from the first step to the last".to_owned(),
        });
    }
    if config.is_projected() {
        return Err(Error::Unsupported {
            what: "a model with proj_size as one Linear per gate".to_owned(),
            why: "the hand-written form has no projection".to_owned(),
        });
    }
    let layers = weights.iter().enumerate();
    layers.map(|(k, w)| ConcatGates::from_layer(w, config.hidden_size, config.layer_input_size(k))).collect()
}
