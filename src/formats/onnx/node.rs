//! One recurrent operator: its attributes, and its inputs as far as they are known without loading weights.

use std::fmt;

use safetensors::Dtype;

use crate::activation::Activation;
use crate::error::{Error, Result};

use super::activations::activations;
use super::fold::{Folder, Plan};
use super::proto::Attribute;
use super::scopes::{Origin, Scopes};
use super::states::States;
use super::store::Store;

/// ONNX's recurrent operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Lstm,
    Gru,
    Rnn,
}

impl Op {
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Lstm, Self::Gru, Self::Rnn].into_iter().find(|op| op.name() == name)
    }

    /// Returns ONNX's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lstm => "LSTM",
            Self::Gru => "GRU",
            Self::Rnn => "RNN",
        }
    }

    /// Returns G: how many blocks of H rows the weights have.
    pub(crate) fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
            Self::Rnn => 1,
        }
    }

    pub(crate) fn default_activations(self) -> &'static [&'static str] {
        match self {
            Self::Lstm => &["Sigmoid", "Tanh", "Tanh"],
            Self::Gru => &["Sigmoid", "Tanh"],
            Self::Rnn => &["Tanh"],
        }
    }
}

/// The `direction` attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Reverse,
    Bidirectional,
}

impl Direction {
    /// Returns D.
    pub(crate) fn count(self) -> usize {
        if self == Self::Bidirectional { 2 } else { 1 }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reverse => "reverse",
            Self::Bidirectional => "bidirectional",
        }
    }
}

/// Where an optional input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    Absent,
    /// The file has its values.
    Constant,
    /// An input of the graph.
    Input,
    /// The graph computes it.
    Computed,
}

/// A recurrent operator of a model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RecurrentNode {
    /// Unique in the model.
    pub(crate) name: String,
    pub(crate) op: Op,
    /// I, if the shape of W is known.
    pub(crate) input_size: Option<usize>,
    /// H; 0 if neither an attribute nor R tells it.
    pub(crate) hidden_size: usize,
    pub(crate) direction: Direction,
    /// 0: X is `[T,B,I]`, Y `[T,D,B,H]`, states `[D,B,H]`. 1: `[B,T,I]`, `[B,T,D,H]` and `[B,D,H]`.
    pub(crate) layout: u8,
    pub(crate) clip: Option<f32>,
    pub(crate) input_forget: bool,
    pub(crate) linear_before_reset: bool,
    /// f, g, h (LSTM), f, g (GRU) or f (RNN) for each direction.
    pub(crate) activations: Vec<Activation>,
    pub(crate) b: Given,
    pub(crate) p: Given,
    pub(crate) sequence_lens: Given,
    pub(crate) initial_h: Given,
    pub(crate) initial_c: Given,
    /// Why it cannot be loaded.
    pub(crate) problem: Option<String>,
}

/// What loading the inputs takes. Their shapes were checked.
#[derive(Clone, Debug, Default)]
pub(super) struct Inputs {
    pub(super) w: Option<Plan>,
    pub(super) r: Option<Plan>,
    pub(super) b: Option<Plan>,
    pub(super) p: Option<Plan>,
    pub(super) sequence_lens: Option<Plan>,
    pub(super) initial_h: Option<Plan>,
    pub(super) initial_c: Option<Plan>,
}

impl RecurrentNode {
    /// Returns the shape of an initial state with the batch of another shape.
    fn state_shape(&self, shape: &[usize]) -> [usize; 3] {
        let (d, h) = (self.direction.count(), self.hidden_size);
        let batch = |axis: usize| shape.get(axis).copied().unwrap_or(1);
        if self.layout == 0 { [d, batch(1), h] } else { [batch(0), d, h] }
    }
}

impl fmt::Display for RecurrentNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.op.name(), self.name)
    }
}

/// Reads nodes of a model.
pub(super) struct NodeReader<'a> {
    pub(super) scopes: &'a Scopes,
    pub(super) store: &'a Store,
    pub(super) scope: usize,
    pub(super) node: usize,
}

impl NodeReader<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        match self.scopes.attribute(self.scope, self.node, name)? {
            Attribute::String(text) => Some(text),
            _ => None,
        }
    }

    fn strings(&self, name: &str) -> &[String] {
        match self.scopes.attribute(self.scope, self.node, name) {
            Some(Attribute::Strings(values)) => values,
            _ => &[],
        }
    }

    fn floats(&self, name: &str) -> &[f32] {
        match self.scopes.attribute(self.scope, self.node, name) {
            Some(Attribute::Floats(values)) => values,
            _ => &[],
        }
    }

    fn flag(&self, name: &str) -> bool {
        self.scopes.int(self.scope, self.node, name).unwrap_or(0) != 0
    }

    fn input(&self, index: usize) -> Option<&str> {
        self.scopes.node(self.scope, self.node)?.input(index)
    }

    fn plan(&self, name: &str) -> Result<Plan> {
        Folder::new(self.scopes, self.store).plan(self.scope, name)
    }

    /// Tells where an optional input comes from, and plans a constant.
    fn given(&self, index: usize) -> (Given, Option<Plan>) {
        let Some(name) = self.input(index) else { return (Given::Absent, None) };
        match self.plan(name) {
            Ok(plan) => (Given::Constant, Some(plan)),
            Err(_) if matches!(self.scopes.origin(self.scope, name), Origin::Input) => (Given::Input, None),
            Err(_) => (Given::Computed, None),
        }
    }

    /// Tells where an initial state comes from, and plans a constant: of all rows, or of the one that the graph repeats
    /// for every row of a batch. Zeros are as good as absent.
    fn given_state(&self, node: &RecurrentNode, index: usize) -> (Given, Option<Plan>) {
        let (Some(name), (given, plan)) = (self.input(index), self.given(index)) else { return (Given::Absent, None) };
        let states = States { scopes: self.scopes, store: self.store };
        if given != Given::Input && states.is_zero(self.scope, name) {
            return (Given::Absent, None);
        }
        if given != Given::Computed {
            return (given, plan);
        }
        let batch_axis = if node.layout == 0 { 1 } else { 0 };
        match states.row(self.scope, name, &node.state_shape(&[1; 3]), batch_axis) {
            Some(row) => (Given::Constant, Some(row)),
            None => (Given::Computed, None),
        }
    }

    /// Describes the node. What is wrong with it becomes its `problem`.
    pub(super) fn describe(&self, op: Op, name: String) -> RecurrentNode {
        let hidden_size = self.scopes.int(self.scope, self.node, "hidden_size").map(|size| usize::try_from(size).ok());
        let r = || self.input(2).and_then(|name| self.plan(name).ok()).and_then(|plan| plan.shape.last().copied());
        let w = self.input(1).and_then(|name| self.plan(name).ok());
        let mut node = RecurrentNode {
            name,
            op,
            input_size: w.filter(|plan| plan.shape.len() == 3).and_then(|plan| plan.shape.last().copied()),
            hidden_size: hidden_size.unwrap_or_else(r).unwrap_or(0),
            direction: match self.text("direction").map(str::to_ascii_lowercase).as_deref() {
                Some("reverse") => Direction::Reverse,
                Some("bidirectional") => Direction::Bidirectional,
                _ => Direction::Forward,
            },
            layout: u8::from(self.flag("layout")),
            clip: match self.scopes.attribute(self.scope, self.node, "clip") {
                Some(Attribute::Float(clip)) => Some(*clip),
                _ => None,
            },
            input_forget: op == Op::Lstm && self.flag("input_forget"),
            linear_before_reset: op == Op::Gru && self.flag("linear_before_reset"),
            activations: Vec::new(),
            b: self.given(3).0,
            sequence_lens: self.given(4).0,
            initial_h: Given::Absent,
            initial_c: Given::Absent,
            p: if op == Op::Lstm { self.given(7).0 } else { Given::Absent },
            problem: None,
        };
        node.initial_h = self.given_state(&node, 5).0;
        node.initial_c = if op == Op::Lstm { self.given_state(&node, 6).0 } else { Given::Absent };
        let resolved = self.activations(&node);
        node.problem = match resolved {
            Ok(activations) => {
                node.activations = activations;
                self.inputs(&node).err().map(|error| error.to_string())
            }
            Err(error) => Some(error.to_string()),
        };
        node
    }

    fn activations(&self, node: &RecurrentNode) -> Result<Vec<Activation>> {
        let (alphas, betas) = (self.floats("activation_alpha"), self.floats("activation_beta"));
        let names = self.strings("activations");
        activations(node.op.default_activations(), node.direction.count(), names, alphas, betas)
            .map_err(|why| Error::Unsupported { what: node.to_string(), why })
    }

    /// Checks attributes and shapes and returns what loading takes.
    pub(super) fn inputs(&self, node: &RecurrentNode) -> Result<Inputs> {
        self.activations(node)?;
        let wrong = |why: String| Error::Unsupported { what: node.to_string(), why };
        let unsupported = |why: String| Err(wrong(why));
        match self.text("direction").map(str::to_ascii_lowercase).as_deref() {
            // "foward" is the default of the first version of RNN.
            None | Some("forward" | "foward" | "reverse" | "bidirectional") => {}
            Some(other) => return unsupported(format!("its direction is {other:?}")),
        }
        if node.clip.is_some_and(|clip| clip.is_nan() || clip <= 0.0) {
            return unsupported(format!("its clip is {:?}, which is not positive", node.clip.unwrap_or_default()));
        }
        let weight = |index: usize, letter: &str| match self.input(index) {
            Some(name) => self.plan(name).map_err(|error| match error {
                Error::Unsupported { what, why } => {
                    wrong(format!("its {letter} is not known, because of {what}: {why}"))
                }
                error => error,
            }),
            None => Err(wrong(format!("it has no {letter}"))),
        };
        let (w, r) = (weight(1, "W")?, weight(2, "R")?);
        let (h, d, g) = (node.hidden_size, node.direction.count(), node.op.gates());
        self.check_projection(node, &w, &r)?;
        if h == 0 {
            return unsupported("its hidden_size is 0 or less, or not given".to_owned());
        }
        let rows = |count: usize| h.saturating_mul(count);
        let i = w.shape.last().copied().unwrap_or(0);
        check(node, "W", &w, &[d, rows(g), i.max(1)], "[D, G·H, I]")?;
        check(node, "R", &r, &[d, rows(g), h], "[D, G·H, H]")?;
        let mut inputs = Inputs { w: Some(w), r: Some(r), ..Inputs::default() };
        if self.input(3).is_some() {
            let b = weight(3, "B")?;
            check(node, "B", &b, &[d, rows(2 * g)], "[D, 2·G·H]")?;
            inputs.b = Some(b);
        }
        if node.op == Op::Lstm && self.input(7).is_some() {
            let p = weight(7, "P")?;
            check(node, "P", &p, &[d, rows(3)], "[D, 3·H]")?;
            inputs.p = Some(p);
        }
        inputs.initial_h = self.state(node, (node.initial_h, 5), "initial_h")?;
        if node.op == Op::Lstm {
            inputs.initial_c = self.state(node, (node.initial_c, 6), "initial_c")?;
        }
        inputs.sequence_lens = self.given(4).1;
        let lengths = inputs.sequence_lens.as_ref();
        if lengths.is_some_and(|plan| plan.shape.len() != 1 || is_float(plan.dtype)) {
            return unsupported("its sequence_lens are not a list of integers".to_owned());
        }
        Ok(inputs)
    }

    /// Plans a constant initial state.
    fn state(&self, node: &RecurrentNode, (given, index): (Given, usize), what: &str) -> Result<Option<Plan>> {
        if given != Given::Constant {
            return Ok(None);
        }
        let Some(plan) = self.given_state(node, index).1 else { return Ok(None) };
        let letters = if node.layout == 0 { "[D, B, H]" } else { "[B, D, H]" };
        check(node, what, &plan, &node.state_shape(&plan.shape), letters)?;
        Ok(Some(plan))
    }

    /// Refuses an LSTM with a projection, which ONNX has no operator for.
    ///
    /// PyTorch's exporter writes P as hidden_size and cuts the weights off to fit; only the cell state, which keeps its
    /// H values, shows it.
    fn check_projection(&self, node: &RecurrentNode, w: &Plan, r: &Plan) -> Result<()> {
        if node.op != Op::Lstm {
            return Ok(());
        }
        let rows = |plan: &Plan| plan.shape.get(1).copied();
        let reject = |p: usize, h: usize| {
            let why = format!(
                "it is one with a projection of {h} units to {p} (proj_size in PyTorch); ONNX's LSTM has none, and a \
                 file that holds one does not hold its weights"
            );
            Err(Error::Unsupported { what: node.to_string(), why })
        };
        if let (Some(rows_w), true, &[_, _, p]) = (rows(w), rows(w) == rows(r), r.shape.as_slice()) {
            let h = rows_w / 4;
            if rows_w % 4 == 0 && p < h && (node.hidden_size == p || node.hidden_size == h) {
                return reject(p, h);
            }
        }
        let cell_states = [self.input(6), self.output(2)];
        for name in cell_states.into_iter().flatten() {
            let declared = || self.scopes.declared(self.scope, name).and_then(|shape| shape.last().copied().flatten());
            let size = self.plan(name).ok().and_then(|plan| plan.shape.last().copied()).or_else(declared);
            if let Some(size) = size.filter(|&size| size != node.hidden_size && size > 1) {
                return reject(node.hidden_size, size);
            }
        }
        Ok(())
    }

    fn output(&self, index: usize) -> Option<&str> {
        let outputs = &self.scopes.node(self.scope, self.node)?.outputs;
        outputs.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }
}

pub(super) fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64)
}

fn check(node: &RecurrentNode, what: &str, plan: &Plan, expected: &[usize], letters: &str) -> Result<()> {
    if plan.shape != expected {
        let what = format!("{what} of {node}");
        return Err(Error::Shape { what, expected: format!("{letters} = {expected:?}"), got: plan.shape.clone() });
    }
    if !is_float(plan.dtype) {
        let why = format!("its {what} has numbers of type {}", plan.dtype);
        return Err(Error::Unsupported { what: node.to_string(), why });
    }
    Ok(())
}
