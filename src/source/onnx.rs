//! ONNX's operators as layers in PyTorch's form.

use crate::cell_kind::{CellKind, Nonlinearity};
use crate::config::RecurrentConfig;
use crate::error::{Error, Result};
use crate::form::Form;
use crate::formats::array::Array;
use crate::formats::onnx::{Direction, Given, Loaded, OnnxFile, Op, RecurrentNode};
use crate::memory::reserved;
use crate::real::Real;
use crate::source::imported::Described;
use crate::source::layer::SourceLayer;
use crate::tensor::Tensor;
use crate::weights::LayerWeights;

impl Op {
    /// Returns the gates of PyTorch's order, by their numbers in ONNX's: LSTM i, o, f, c; GRU z, r, h.
    const fn order(self) -> &'static [usize] {
        match self {
            Self::Lstm => &[0, 2, 3, 1],
            Self::Gru => &[1, 0, 2],
            Self::Rnn => &[0],
        }
    }

    /// Returns the gates of ONNX's order, by their numbers in PyTorch's.
    pub(super) fn onnx_order(self) -> Vec<usize> {
        let order = self.order();
        (0..order.len()).filter_map(|gate| order.iter().position(|&other| other == gate)).collect()
    }
}

/// The order of peepholes: i, f, o of ONNX's i, o, f, and the other way round.
pub(super) const PEEPHOLES: &[usize] = &[0, 2, 1];

impl RecurrentNode {
    /// Returns the configuration of the layer, without its biases.
    pub(crate) fn config(&self) -> RecurrentConfig {
        let cell = match self.op {
            Op::Lstm => CellKind::Lstm,
            Op::Gru if self.linear_before_reset => CellKind::Gru,
            Op::Gru => CellKind::GruResetBefore,
            Op::Rnn => CellKind::Rnn(Nonlinearity::Tanh),
        };
        let form = Form {
            activations: self.activations.clone(),
            clip: self.clip,
            input_forget: self.input_forget && self.op == Op::Lstm,
            peepholes: self.p != Given::Absent && self.op == Op::Lstm,
        };
        RecurrentConfig {
            form,
            bias: self.b != Given::Absent,
            batch_first: self.layout == 1,
            bidirectional: self.direction == Direction::Bidirectional,
            reverse: self.direction == Direction::Reverse,
            ..RecurrentConfig::one_layer(cell, self.input_size.unwrap_or(0), self.hidden_size)
        }
        .canonical()
    }
}

impl OnnxFile {
    /// Loads nodes that follow one another as one layer.
    pub(crate) fn described<F: Real>(&self, indices: &[usize]) -> Result<Described<F>> {
        let mut layers = reserved("the weights of all layers", &[indices.len(), 2])?;
        let (mut config, mut initial, mut lengths) = (None, Vec::new(), None);
        for &index in indices {
            let loaded = self.load(index)?;
            let Some(node) = self.nodes().get(index) else { continue };
            let mut own = node.config();
            own.input_size = loaded.w.shape.last().copied().unwrap_or(0);
            own.bias = loaded.b.is_some();
            own.form.peepholes = loaded.p.is_some();
            for direction in 0..own.directions() {
                layers.push(weights(node, &loaded, direction)?);
            }
            initial.push(states(node, &loaded)?);
            lengths = lengths.or(loaded.sequence_lens);
            match &mut config {
                None => config = Some(own),
                Some(config) => {
                    config.num_layers += 1;
                    if config.bias != own.bias || config.form != own.form || config.cell != own.cell {
                        let why = "its layers differ in more than their weights".to_owned();
                        return Err(Error::Unsupported { what: format!("the stack of {node}"), why });
                    }
                }
            }
        }
        let Some(config) = config else {
            let found = self.nodes().iter().map(|node| node.name.clone()).collect();
            return Err(Error::NotFound { what: "layer".to_owned(), name: String::new(), found });
        };
        let initial = combined(initial)?;
        Ok(Described { initial, lengths, ..Described::new(config, layers) })
    }
}

/// Returns the weights of a direction.
fn weights<F: Real>(node: &RecurrentNode, loaded: &Loaded, direction: usize) -> Result<LayerWeights<F>> {
    let (h, order) = (node.hidden_size, node.op.order());
    let rows = order.len() * h;
    let matrix = |array: &Array| {
        let columns = array.shape.last().copied().unwrap_or(0);
        let data = array.numbers::<F>(&node.name)?;
        let own = data.get(direction * rows * columns..(direction + 1) * rows * columns).unwrap_or_default();
        Tensor::new([rows, columns], blocks(own, order, h * columns)?)
    };
    let mut weights = LayerWeights::new(matrix(&loaded.w)?, matrix(&loaded.r)?);
    if let Some(array) = &loaded.b {
        let data = array.numbers::<F>(&node.name)?;
        let bias = |part: usize| {
            let start = (2 * direction + part) * rows;
            Tensor::new([rows], blocks(data.get(start..start + rows).unwrap_or_default(), order, h)?)
        };
        weights = weights.with_bias(bias(0)?, bias(1)?);
    }
    if let Some(array) = &loaded.p {
        let data = array.numbers::<F>(&node.name)?;
        let own = data.get(3 * h * direction..3 * h * (direction + 1)).unwrap_or_default();
        weights = weights.with_peephole(Tensor::new([3 * h], blocks(own, PEEPHOLES, h)?)?);
    }
    Ok(weights)
}

/// Returns blocks of `size` numbers in another order.
fn blocks<F: Real>(data: &[F], order: &[usize], size: usize) -> Result<Vec<F>> {
    let mut ordered = reserved("weights", &[order.len(), size])?;
    for block in order {
        ordered.extend_from_slice(data.get(block * size..(block + 1) * size).unwrap_or_default());
    }
    Ok(ordered)
}

/// Returns the constant initial states, each `[D, B, H]`; `None` for one that is not constant.
fn states<F: Real>(node: &RecurrentNode, loaded: &Loaded) -> Result<[Option<Tensor<F>>; 2]> {
    let state = |array: &Option<Array>| -> Result<Option<Tensor<F>>> {
        let Some(array) = array else { return Ok(None) };
        let (data, h) = (array.numbers::<F>(&node.name)?, node.hidden_size);
        let directions = node.direction.count();
        let batch = data.len() / (directions * h).max(1);
        let mut ordered = reserved("an initial state", &[data.len()])?;
        for (d, b) in (0..directions).flat_map(|d| (0..batch).map(move |b| (d, b))) {
            let row = if node.layout == 1 { b * directions + d } else { d * batch + b };
            ordered.extend_from_slice(data.get(row * h..(row + 1) * h).unwrap_or_default());
        }
        Tensor::new([directions, batch, h], ordered).map(Some)
    };
    Ok([state(&loaded.initial_h)?, state(&loaded.initial_c)?])
}

/// Joins the initial states of all layers, `[L·D, B, H]`; those that are not constant are zeros, and `None` stands for
/// zeros everywhere.
fn combined<F: Real>(layers: Vec<[Option<Tensor<F>>; 2]>) -> Result<Option<[Tensor<F>; 2]>> {
    let is_zero = |tensor: &Tensor<F>| tensor.data().iter().all(|&value| value == F::zero());
    let given: Vec<_> = layers.iter().flatten().flatten().filter(|tensor| !is_zero(tensor)).collect();
    let Some(first) = given.first().map(|tensor| tensor.shape().to_vec()) else { return Ok(None) };
    if given.iter().any(|tensor| tensor.shape() != first) {
        let why = "its layers have them for different batches".to_owned();
        return Err(Error::Unsupported { what: "a stack with constant initial states".to_owned(), why });
    }
    let (count, size) = (layers.len(), first.iter().product::<usize>());
    let joined = |state: usize| {
        let mut data = reserved("initial states", &[count, size])?;
        for layer in &layers {
            match layer.get(state) {
                Some(Some(tensor)) if tensor.shape() == first => data.extend_from_slice(tensor.data()),
                _ => data.extend(std::iter::repeat_n(F::zero(), size)),
            }
        }
        let mut shape = first.clone();
        shape[0] *= count;
        Tensor::new(shape, data)
    };
    Ok(Some([joined(0)?, joined(1)?]))
}

/// Describes the nodes, and the deep layers that they form.
pub(crate) fn layers(file: &OnnxFile, stacks: &[Vec<usize>]) -> Vec<SourceLayer> {
    let nodes = file.nodes();
    let mut layers: Vec<_> =
        nodes.iter().map(|node| SourceLayer::new(node.name.clone(), &node.config(), notes(node))).collect();
    for stack in stacks {
        let (Some(name), Some(first)) = (stack_name(file, stack), stack.first().and_then(|&first| nodes.get(first)))
        else {
            continue;
        };
        let config = RecurrentConfig { num_layers: stack.len(), ..first.config() };
        let of_all = stack.iter().filter_map(|&index| nodes.get(index)).map(notes);
        let notes = of_all.into_iter().find(|notes| !notes.is_empty()).unwrap_or_default();
        layers.push(SourceLayer::new(name, &config, notes));
    }
    layers
}

/// Returns the nodes of a layer by its name.
pub(crate) fn find(file: &OnnxFile, stacks: &[Vec<usize>], name: &str) -> Option<Vec<usize>> {
    let of_stack = || stacks.iter().find(|stack| stack_name(file, stack).as_deref() == Some(name)).cloned();
    file.nodes().iter().position(|node| node.name == name).map(|index| vec![index]).or_else(of_stack)
}

fn stack_name(file: &OnnxFile, stack: &[usize]) -> Option<String> {
    let name = |index: Option<&usize>| Some(&file.nodes().get(*index?)?.name);
    Some(format!("{}..{}", name(stack.first())?, name(stack.last())?))
}

/// Returns what is special about a node beyond its configuration.
fn notes(node: &RecurrentNode) -> Vec<String> {
    let optional =
        [(node.initial_h, "initial_h"), (node.initial_c, "initial_c"), (node.sequence_lens, "sequence_lens")];
    let given = optional.into_iter().filter_map(|(given, what)| match given {
        Given::Constant => Some(format!("{what} given by the file")),
        Given::Computed => Some(format!("{what} computed by the graph, which is not taken over")),
        Given::Absent | Given::Input => None,
    });
    given.chain(node.problem.clone()).collect()
}
