//! Recurrent operators of ONNX models: LSTM, GRU and RNN of operator sets 1 to 22.
//!
//! A model is read in two steps: its graph, without any weight, when it is opened; the weights of one node when they
//! are asked for. [`wire`] and [`proto`] read the messages, [`scopes`] finds what a name means, [`fold`], [`views`] and
//! [`compute`] evaluate what exporters leave between a node and its weights, [`states`] what they make for a batch of
//! any size, [`node`] describes the operators, [`stacks`] and [`flatten`] find those that form one deep layer.

mod activations;
mod compute;
mod flatten;
mod fold;
mod message;
mod node;
mod proto;
mod scopes;
mod stacks;
mod states;
mod store;
mod tensor;
#[cfg(test)]
mod tests;
mod views;
mod wire;
pub(crate) mod write;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use safetensors::Dtype;

use crate::error::{Error, Result};
use crate::formats::array::Array;
use crate::formats::input::Input;

pub(crate) use node::{Direction, Given, Op, RecurrentNode};

use fold::Plan;
use node::{Inputs, NodeReader};
use scopes::Scopes;
use store::Store;
use tensor::{cast, integers};

/// How many recurrent operators a model may have.
const MAX_NODES: usize = 1024;

/// A model that was opened.
pub(crate) struct OnnxFile {
    store: Store,
    scopes: Scopes,
    nodes: Vec<RecurrentNode>,
    /// Scope and node of each of `nodes`.
    places: Vec<(usize, usize)>,
    /// What else in the graph may compute a recurrence.
    others: Vec<String>,
}

/// The inputs of a recurrent operator, in ONNX's arrangement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Loaded {
    /// `[D, G·H, I]`; gates i, o, f, c (LSTM) or z, r, h (GRU).
    pub(crate) w: Array,
    /// `[D, G·H, H]`
    pub(crate) r: Array,
    /// `[D, 2·G·H]`: of the input product, then of the recurrent one.
    pub(crate) b: Option<Array>,
    /// `[D, 3·H]`: i, o, f.
    pub(crate) p: Option<Array>,
    /// `[D, B, H]`, or `[B, D, H]` in layout 1.
    pub(crate) initial_h: Option<Array>,
    pub(crate) initial_c: Option<Array>,
    pub(crate) sequence_lens: Option<Vec<i64>>,
}

/// An initialiser of the main graph.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// `None` for a number type without an equal outside of ONNX.
    pub(crate) dtype: Option<Dtype>,
    pub(crate) shape: Vec<usize>,
}

impl OnnxFile {
    /// Reads a model's graph. Weights stay where they are; those in other files are an error when they are needed, if
    /// the model itself is in memory.
    pub(crate) fn of(input: Arc<Input>) -> Result<Self> {
        let store = Store::new(input);
        let model = store.read(proto::model)?;
        let scopes = Scopes::new(&model, store.origin())?;
        let (mut nodes, mut places, mut others) = (Vec::new(), Vec::new(), Vec::new());
        let mut names = Names::default();
        for (scope, index, node) in scopes.nodes() {
            let op = Op::named(&node.op).filter(|_| node.is_standard());
            let first_output = || node.outputs.iter().find(|name| !name.is_empty()).unwrap_or(&node.op);
            let name = if node.name.is_empty() { first_output() } else { &node.name };
            if let Some(op) = op {
                if nodes.len() >= MAX_NODES {
                    let why = format!("it has more than {MAX_NODES} recurrent operators");
                    return Err(wire::broken(store.origin(), why));
                }
                let reader = NodeReader { scopes: &scopes, store: &store, scope, node: index };
                nodes.push(reader.describe(op, names.unique(name)));
                places.push((scope, index));
            } else if others.len() < 8 && is_recurrence(&node.op, node.is_standard()) {
                let domain = if node.is_standard() { String::new() } else { format!("{}.", node.domain) };
                others.push(format!("{domain}{} {name:?}", node.op));
            }
        }
        Ok(Self { store, scopes, nodes, places, others })
    }

    /// Returns the recurrent operators: those of the main graph in its order, then those of subgraphs and functions
    /// from the outside in. A function's count once for every call of it.
    ///
    /// The name of a node without one is that of its first output. Of equal names the second becomes "name#2", the
    /// third "name#3", and so on.
    pub(crate) fn nodes(&self) -> &[RecurrentNode] {
        &self.nodes
    }

    /// Returns the error of a model without recurrent operators, which names what else might be one; `None` if there
    /// are some.
    pub(crate) fn no_nodes(&self) -> Option<Error> {
        self.nodes.is_empty().then(|| match self.others.as_slice() {
            [] => Error::Unsupported {
                what: format!("{} as a recurrent model", self.store.origin()),
                why: "it has no LSTM, GRU or RNN operator; exporters may have unrolled it".to_owned(),
            },
            others => Error::Unsupported {
                what: others.join(", "),
                why: "only ONNX's own LSTM, GRU and RNN operators are read, without quantisation".to_owned(),
            },
        })
    }

    /// Loads the inputs of a node. Weights and states become F64 if one of them is, otherwise F32.
    pub(crate) fn load(&self, index: usize) -> Result<Loaded> {
        if let Some(error) = self.no_nodes() {
            return Err(error);
        }
        let (Some(node), Some(&(scope, at))) = (self.nodes.get(index), self.places.get(index)) else {
            let found = self.nodes.iter().map(|node| node.name.clone()).collect();
            return Err(Error::NotFound { what: "recurrent node".to_owned(), name: index.to_string(), found });
        };
        self.scopes.rest();
        let reader = NodeReader { scopes: &self.scopes, store: &self.store, scope, node: at };
        let Inputs { w, r, b, p, sequence_lens, initial_h, initial_c } = reader.inputs(node)?;
        let plans = [&w, &r, &b, &p, &initial_h, &initial_c];
        let double = plans.into_iter().flatten().any(|plan| plan.dtype == Dtype::F64);
        let dtype = if double { Dtype::F64 } else { Dtype::F32 };
        let load = |plan: Plan| cast(plan.compute(&self.store)?, dtype, &node.name);
        let optional = |plan: Option<Plan>| plan.map(load).transpose();
        let required = |plan: Option<Plan>| {
            optional(plan)?.ok_or_else(|| Error::Unsupported { what: node.to_string(), why: "it has no W".to_owned() })
        };
        let lengths = sequence_lens.map(|plan| Ok(integers(&plan.compute(&self.store)?))).transpose()?;
        Ok(Loaded {
            w: required(w)?,
            r: required(r)?,
            b: optional(b)?,
            p: optional(p)?,
            initial_h: optional(initial_h)?,
            initial_c: optional(initial_c)?,
            sequence_lens: lengths,
        })
    }

    /// Returns the deep layers that the nodes form: indices of nodes, the first layer first.
    pub(crate) fn stacks(&self) -> Vec<Vec<usize>> {
        let Self { store, scopes, nodes, places, .. } = self;
        scopes.rest();
        stacks::Stacks { scopes, store, nodes, places }.find()
    }

    /// Returns the initialisers of the main graph.
    pub(crate) fn initialisers(&self) -> BTreeMap<String, Entry> {
        let body = self.scopes.body(0);
        let all = body.into_iter().flat_map(|body| &body.initialisers);
        all.map(|(name, tensor)| (name.clone(), Entry { dtype: tensor.dtype.dtype(), shape: tensor.shape.clone() }))
            .collect()
    }

    /// Loads an initialiser of the main graph as it is stored.
    pub(crate) fn read_initialiser(&self, name: &str) -> Result<Option<Array>> {
        let tensor = self.scopes.body(0).and_then(|body| body.initialisers.get(name));
        tensor.map(|tensor| tensor.load(&self.store)).transpose()
    }
}

/// The names of nodes that were found.
#[derive(Default)]
struct Names {
    used: HashSet<String>,
    /// How often a name was asked for.
    counts: HashMap<String, usize>,
}

impl Names {
    /// Returns a name that was not used before.
    fn unique(&mut self, name: &str) -> String {
        let count = self.counts.entry(name.to_owned()).or_default();
        loop {
            *count += 1;
            let free = if *count == 1 { name.to_owned() } else { format!("{name}#{count}") };
            if self.used.insert(free.clone()) {
                return free;
            }
        }
    }
}

/// Returns true for operators that are, or may hold, a recurrence that is not read.
fn is_recurrence(op: &str, standard: bool) -> bool {
    let upper = op.to_ascii_uppercase();
    matches!((op, standard), ("Loop" | "Scan", true))
        || (!standard && ["LSTM", "GRU", "RNN"].iter().any(|name| upper.contains(name)))
}
