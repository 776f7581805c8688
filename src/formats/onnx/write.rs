//! Writing a deep recurrent layer as an ONNX model: one operator for each layer, with PyTorch's inputs and outputs.

use safetensors::Dtype;

use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::formats::array::Array;
use crate::memory::zeroed;

use super::message::{Message, Size, float, floats, int, ints, node, tensor, text, texts, value};
use super::node::{Direction, Op};
use super::tensor::size_of;

const IR_VERSION: i64 = 10;
const OPERATOR_SET: i64 = 22;

/// One layer to write. Weights have ONNX's arrangement.
pub(crate) struct NodeToWrite {
    pub(crate) name: String,
    /// "LSTM", "GRU" or "RNN".
    pub(crate) op: &'static str,
    pub(crate) input_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) direction: Direction,
    /// In ONNX's order, for each direction; empty for the defaults.
    pub(crate) activations: Vec<Activation>,
    pub(crate) clip: Option<f32>,
    pub(crate) input_forget: bool,
    pub(crate) linear_before_reset: bool,
    pub(crate) w: Array,
    pub(crate) r: Array,
    pub(crate) b: Option<Array>,
    pub(crate) p: Option<Array>,
}

/// Returns a model of layers, the first one first, that differ in their input's size and their weights only.
///
/// | name | shape |
/// |---|---|
/// | input `input` | `[T, B, I]`; `[B, T, I]` if `batch_first` |
/// | inputs `h_0`, and `c_0` of an LSTM | `[L·D, B, H]`, or `[L·D, 1, H]` for one state for all of a batch |
/// | output `output` | `[T, B, D·H]`; `[B, T, D·H]` if `batch_first` |
/// | outputs `h_n`, and `c_n` of an LSTM | `[L·D, B, H]` |
///
/// T and B are free. An initial state may be left out: ONNX gives an input a default by an initialiser of its name,
/// which is `[L·D, 1, H]` zeros here, and the model expands whatever it gets to the batch.
pub(crate) fn write(nodes: &[NodeToWrite], batch_first: bool) -> Result<Vec<u8>> {
    let Some(first) = nodes.first() else {
        return Err(reject("a model without layers", "there is nothing to write".to_owned()));
    };
    let op = Op::named(first.op).ok_or_else(|| reject(first.op, "it is not LSTM, GRU or RNN".to_owned()))?;
    let (h, d) = (first.hidden_size, first.direction.count());
    let data_type = match first.w.dtype {
        Dtype::F32 => 1,
        Dtype::F16 => 10,
        Dtype::F64 => 11,
        other => return Err(reject(&first.name, format!("an operator has no weights of type {other}"))),
    };
    let states: &[(&str, &str, usize)] =
        if op == Op::Lstm { &[("h_0", "h_n", 1), ("c_0", "c_n", 2)] } else { &[("h_0", "h_n", 1)] };
    let mut graph = Message::default().text(2, "recurrent");
    let integers = |name: &str, values: &[i64]| {
        let bytes: Vec<_> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensor(name, 7, &[values.len()], &bytes)
    };
    // Of the axis that Squeeze takes away, or the shape that Reshape gives.
    let (of_features, values): (_, &[i64]) = if d == 1 { ("axis_of_one", &[1]) } else { ("features", &[0, 0, -1]) };
    graph = graph.message(5, integers("zero", &[0])).message(5, integers(of_features, values));
    let batch_axis = if batch_first { 0 } else { 1 };
    let batch = [int("start", batch_axis), int("end", batch_axis + 1)];
    graph = graph.message(1, node("Shape", &["input"], &["batch"], batch.into()));
    graph = graph.message(5, integers("rows", &[(nodes.len() * d) as i64]));
    graph = graph.message(5, integers("units", &[h as i64]));
    graph = graph.message(1, node("Concat", &["rows", "batch", "units"], &["state_shape"], vec![int("axis", 0)]));
    for &(initial, _, _) in states {
        let zeros = zeroed(initial, &[nodes.len(), d, h, size_of(first.w.dtype)])?;
        graph = graph.message(5, tensor(initial, data_type, &[nodes.len() * d, 1, h], &zeros));
        graph = graph.message(1, node("Expand", &[initial, "state_shape"], &[&format!("{initial}_all")], vec![]));
    }
    let mut x = "input".to_owned();
    if batch_first {
        graph = graph.message(1, node("Transpose", &["input"], &["input_steps"], vec![ints("perm", &[1, 0, 2])]));
        x = "input_steps".to_owned();
    }
    for (layer, this) in nodes.iter().enumerate() {
        let input_size = if layer == 0 { first.input_size } else { d * h };
        check(this, first, op, input_size)?;
        let name = |what: &str| format!("{what}_l{layer}");
        let rows = [(layer * d) as i64, ((layer + 1) * d) as i64];
        graph = graph.message(5, integers(&name("from"), &rows[..1])).message(5, integers(&name("to"), &rows[1..]));
        for &(initial, _, _) in states {
            let (all, from, to, own) = (format!("{initial}_all"), name("from"), name("to"), name(initial));
            graph = graph.message(1, node("Slice", &[&all, &from, &to, "zero"], &[&own], vec![]));
        }
        for (what, array) in
            [("W", Some(&this.w)), ("R", Some(&this.r)), ("B", this.b.as_ref()), ("P", this.p.as_ref())]
        {
            if let Some(array) = array {
                graph = graph.message(5, tensor(&name(what), data_type, &array.shape, &array.bytes));
            }
        }
        let given = |what: &str, given: bool| if given { name(what) } else { String::new() };
        let mut inputs =
            vec![x.clone(), name("W"), name("R"), given("B", this.b.is_some()), String::new(), name("h_0")];
        if op == Op::Lstm {
            inputs.push(name("c_0"));
            inputs.extend(this.p.is_some().then(|| name("P")));
        }
        let mut outputs = vec![name("Y")];
        outputs.extend(states.iter().map(|&(_, last, _)| name(last)));
        let inputs: Vec<_> = inputs.iter().map(String::as_str).collect();
        let outputs: Vec<_> = outputs.iter().map(String::as_str).collect();
        // The last name counts: that of the layer instead of its first output.
        let recurrent = node(op.name(), &inputs, &outputs, attributes(this, op)?).text(3, &this.name);
        graph = graph.message(1, recurrent);
        let last = layer + 1 == nodes.len();
        let y = if last && !batch_first { "output".to_owned() } else { name("features_of") };
        if d == 1 {
            graph = graph.message(1, node("Squeeze", &[&name("Y"), of_features], &[&y], vec![]));
        } else {
            let perm = vec![ints("perm", &[0, 2, 1, 3])];
            graph = graph.message(1, node("Transpose", &[&name("Y")], &[&name("Y_batch")], perm));
            graph = graph.message(1, node("Reshape", &[&name("Y_batch"), of_features], &[&y], vec![]));
        }
        if last && batch_first {
            graph = graph.message(1, node("Transpose", &[&y], &["output"], vec![ints("perm", &[1, 0, 2])]));
        }
        x = y;
    }
    for &(_, all, _) in states {
        let parts: Vec<_> = (0..nodes.len()).map(|layer| format!("{all}_l{layer}")).collect();
        let parts: Vec<_> = parts.iter().map(String::as_str).collect();
        graph = graph.message(1, node("Concat", &parts, &[all], vec![int("axis", 0)]));
    }
    let sequence = |size: usize| match batch_first {
        false => [Size::Named("T"), Size::Named("B"), Size::Fixed(size)],
        true => [Size::Named("B"), Size::Named("T"), Size::Fixed(size)],
    };
    let state = |batch| [Size::Fixed(nodes.len() * d), Size::Named(batch), Size::Fixed(h)];
    graph = graph.message(11, value("input", data_type, &sequence(first.input_size)));
    graph = graph.message(12, value("output", data_type, &sequence(d * h)));
    for &(initial, last, _) in states {
        // Another name than the batch's, because 1 is allowed too.
        graph = graph.message(11, value(initial, data_type, &state("B_or_1")));
        graph = graph.message(12, value(last, data_type, &state("B")));
    }
    let operators = Message::default().text(1, "").int(2, OPERATOR_SET);
    let model = Message::default().int(1, IR_VERSION).text(2, env!("CARGO_PKG_NAME")).message(7, graph);
    Ok(model.message(8, operators).into_bytes())
}

fn reject(what: &str, why: String) -> Error {
    Error::Unsupported { what: what.to_owned(), why }
}

/// Checks that a layer fits to the first one and its weights to its sizes.
fn check(this: &NodeToWrite, first: &NodeToWrite, op: Op, input_size: usize) -> Result<()> {
    let (h, d, g) = (this.hidden_size, this.direction.count(), op.gates());
    if (this.op, h, this.direction) != (first.op, first.hidden_size, first.direction) || this.input_size != input_size {
        let why = "operator, direction and sizes do not fit to the layers below".to_owned();
        return Err(reject(&this.name, why));
    }
    let shapes = [
        ("W", Some(&this.w), vec![d, g * h, input_size]),
        ("R", Some(&this.r), vec![d, g * h, h]),
        ("B", this.b.as_ref(), vec![d, 2 * g * h]),
        ("P", this.p.as_ref(), vec![d, 3 * h]),
    ];
    for (what, array, expected) in shapes {
        let Some(array) = array else { continue };
        let bytes = expected.iter().product::<usize>() * size_of(first.w.dtype);
        if array.shape != expected || array.dtype != first.w.dtype || array.bytes.len() != bytes {
            let expected = format!("{expected:?} of type {}", first.w.dtype);
            return Err(Error::Shape { what: format!("{what} of {}", this.name), expected, got: array.shape.clone() });
        }
    }
    Ok(())
}

fn attributes(this: &NodeToWrite, op: Op) -> Result<Vec<Message>> {
    let mut attributes = vec![int("hidden_size", this.hidden_size as i64), text("direction", this.direction.name())];
    if !this.activations.is_empty() {
        let wanted = op.default_activations().len() * this.direction.count();
        if this.activations.len() != wanted {
            return Err(reject(&this.name, format!("it has {} activations, not {wanted}", this.activations.len())));
        }
        // Values are taken in order by the activations that have such a parameter, so defaults are written too.
        let (mut names, mut alphas, mut betas) = (Vec::new(), Vec::new(), Vec::new());
        for activation in &this.activations {
            let (name, [alpha, beta]) = activation.parts();
            names.push(name);
            alphas.extend(alpha);
            betas.extend(beta);
        }
        attributes.push(texts("activations", &names));
        attributes.extend((!alphas.is_empty()).then(|| floats("activation_alpha", &alphas)));
        attributes.extend((!betas.is_empty()).then(|| floats("activation_beta", &betas)));
    }
    attributes.extend(this.clip.map(|clip| float("clip", clip)));
    attributes.extend((op == Op::Lstm && this.input_forget).then(|| int("input_forget", 1)));
    attributes.extend((op == Op::Gru && this.linear_before_reset).then(|| int("linear_before_reset", 1)));
    Ok(attributes)
}
