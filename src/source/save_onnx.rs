//! Layers as ONNX models.

use std::path::Path;

use safetensors::Dtype;

use crate::cell_kind::{CellKind, Nonlinearity};
use crate::config::RecurrentConfig;
use crate::error::{Error, Result};
use crate::formats::array::Array;
use crate::formats::onnx::write::{NodeToWrite, write};
use crate::formats::onnx::{Direction, Op};
use crate::layer::Layer;
use crate::layer::any::AnyLayer;
use crate::layer::kind::Kind;
use crate::memory::reserved;
use crate::real::Real;
use crate::source::onnx::PEEPHOLES;
use crate::tensor::Tensor;
use crate::weights::{LayerWeights, whole_file};

/// The most bytes of a protocol buffer.
const MAX_BYTES: usize = i32::MAX as usize;

impl<K: Kind, F: Real> Layer<K, F> {
    /// Writes the model as an ONNX model of operator set 22, one node for each layer, which ONNX Runtime runs.
    ///
    /// Its inputs and outputs have PyTorch's names and arrangement: `input`, and if wanted `h_0` and, for an LSTM,
    /// `c_0`, `[L·D, B, H]` (or `[L·D, 1, H]`, for one state for all of a batch; zeros if it is left out); `output`,
    /// `h_n` and, for an LSTM, `c_n`. T and B are free. Dropout is left out. The file appears whole, as described at
    /// [`TensorFile::save`](crate::TensorFile::save).
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a projection, which ONNX lacks, and for more than 2 GiB of weights; [`Error::Io`] if
    /// the file cannot be written; [`Error::TooLarge`] if memory cannot be allocated.
    pub fn save_onnx(&self, path: impl AsRef<Path>) -> Result<()> {
        save(&self.config().0, self.layers(), path.as_ref())
    }
}

impl<F: Real> AnyLayer<F> {
    /// Writes the layer as an ONNX model, like [`Layer::save_onnx`](crate::Layer::save_onnx).
    ///
    /// # Errors
    /// The errors of [`Layer::save_onnx`](crate::Layer::save_onnx).
    pub fn save_onnx(&self, path: impl AsRef<Path>) -> Result<()> {
        match self {
            Self::Lstm(layer) => layer.save_onnx(path),
            Self::Gru(layer) => layer.save_onnx(path),
            Self::Rnn(layer) => layer.save_onnx(path),
        }
    }
}

/// Writes a layer to a file.
fn save<F: Real>(config: &RecurrentConfig, layers: &[LayerWeights<F>], path: &Path) -> Result<()> {
    let model = model(config, layers)?;
    let written = whole_file::write(path, |writer| std::io::Write::write_all(writer, &model));
    written.map_err(|source| Error::Io { path: path.to_owned(), action: "written", source })
}

/// Returns a model of a layer, with one node for each of its layers.
fn model<F: Real>(config: &RecurrentConfig, layers: &[LayerWeights<F>]) -> Result<Vec<u8>> {
    let unsupported = |why: &str| Error::Unsupported { what: format!("{config} in ONNX"), why: why.to_owned() };
    if config.is_projected() {
        return Err(unsupported("its operators have no projection"));
    }
    let numbers: usize = layers.iter().flat_map(LayerWeights::tensors).map(|tensor| tensor.data().len()).sum();
    if numbers.saturating_mul(size_of::<F>()) > MAX_BYTES - (1 << 20) {
        return Err(unsupported("the file would be larger than 2 GiB, the most of its format"));
    }
    let nodes = layers.chunks_exact(config.directions()).enumerate();
    let nodes = nodes.map(|(layer, weights)| node(config, layer, weights)).collect::<Result<Vec<_>>>()?;
    write(&nodes, config.batch_first)
}

fn node<F: Real>(config: &RecurrentConfig, layer: usize, weights: &[LayerWeights<F>]) -> Result<NodeToWrite> {
    let op = match config.cell {
        CellKind::Lstm => Op::Lstm,
        CellKind::Gru | CellKind::GruResetBefore => Op::Gru,
        CellKind::Rnn(_) => Op::Rnn,
    };
    let (h, order, directions) = (config.hidden_size, &*op.onnx_order(), weights.len());
    let (input_size, rows) = (config.layer_input_size(layer), op.gates() * h);
    let joined = |tensors: Vec<Option<&Tensor<F>>>, order: &[usize], shape: Vec<usize>| {
        let size = shape.iter().product::<usize>() / (tensors.len() * order.len()).max(1);
        array(tensors.into_iter().flatten(), order, size, shape)
    };
    let of = |get: fn(&LayerWeights<F>) -> Option<&Tensor<F>>| weights.iter().map(get).collect::<Vec<_>>();
    let biases = weights.iter().flat_map(|w| [w.bias_ih(), w.bias_hh()]).collect();
    let (bias, peepholes) = (config.bias, config.form.peepholes);
    let count = op.default_activations().len();
    let is_default = config.form.activations.is_empty() && config.cell != CellKind::Rnn(Nonlinearity::Relu);
    let all = (0..directions).flat_map(|d| config.form.activations(config.cell, d).into_iter().take(count));
    Ok(NodeToWrite {
        name: format!("{}_l{layer}", op.name().to_lowercase()),
        op: op.name(),
        input_size,
        hidden_size: h,
        direction: match (config.bidirectional, config.reverse) {
            (true, _) => Direction::Bidirectional,
            (false, true) => Direction::Reverse,
            (false, false) => Direction::Forward,
        },
        activations: if is_default { Vec::new() } else { all.collect() },
        clip: config.form.clip,
        input_forget: config.form.input_forget,
        linear_before_reset: config.cell == CellKind::Gru,
        w: joined(of(|w| Some(w.weight_ih())), order, vec![directions, rows, input_size])?,
        r: joined(of(|w| Some(w.weight_hh())), order, vec![directions, rows, h])?,
        b: bias.then(|| joined(biases, order, vec![directions, 2 * rows])).transpose()?,
        p: peepholes.then(|| joined(of(LayerWeights::peephole), PEEPHOLES, vec![directions, 3 * h])).transpose()?,
    })
}

/// Joins tensors, each with its blocks of `size` numbers in another order.
fn array<'a, F: Real>(
    tensors: impl Iterator<Item = &'a Tensor<F>>,
    order: &[usize],
    size: usize,
    shape: Vec<usize>,
) -> Result<Array> {
    let mut bytes: Vec<u8> = reserved("the weights of a node", &[shape.iter().product(), size_of::<F>()])?;
    for tensor in tensors {
        for block in order {
            let numbers = tensor.data().get(block * size..(block + 1) * size).unwrap_or_default();
            for &number in numbers {
                match size_of::<F>() {
                    8 => bytes.extend_from_slice(&number.to_f64().to_le_bytes()),
                    _ => bytes.extend_from_slice(&(number.to_f64() as f32).to_le_bytes()),
                }
            }
        }
    }
    let dtype = if size_of::<F>() == 8 { Dtype::F64 } else { Dtype::F32 };
    Ok(Array { dtype, shape, bytes })
}
