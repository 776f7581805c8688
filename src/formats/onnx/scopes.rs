//! Which graph a name belongs to: subgraphs see the names around them, functions only what they are called with.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Result;

use super::proto::{Attribute, Body, Model, Node};
use super::tensor::TensorRef;
use super::wire::broken;

/// How deep calls and graphs may lie in each other.
const MAX_DEPTH: usize = 64;
/// How many nodes there may be when every call of a function is counted.
const MAX_NODES: usize = 1 << 20;
/// How many operations and parameters of them one call may take for all nodes together.
const MAX_WORK: usize = 1 << 20;

/// A graph, or one call of a function.
struct Scope {
    body: Arc<Body>,
    /// The scope around a subgraph.
    parent: Option<usize>,
    /// Scope and node of the call of a function.
    call: Option<(usize, usize)>,
    depth: usize,
}

/// All graphs of a model; the main graph comes first.
pub(super) struct Scopes {
    all: Vec<Scope>,
    /// Work that was done since the last call of [`rest`](Self::rest).
    work: AtomicUsize,
}

/// What makes a value.
pub(super) enum Origin<'a> {
    Initialiser(&'a TensorRef),
    Sparse,
    /// Scope, node, and the index of the output.
    Node(usize, usize, usize),
    /// An input of the graph, or of the body of a loop.
    Input,
    Nothing,
}

impl Scopes {
    pub(super) fn new(model: &Model, origin: &str) -> Result<Self> {
        let mut all = vec![Scope { body: Arc::clone(&model.graph), parent: None, call: None, depth: 0 }];
        let (mut next, mut nodes) = (0, 0);
        while let Some(Scope { body, depth, .. }) = all.get(next) {
            let (body, depth) = (Arc::clone(body), depth + 1);
            nodes += body.nodes.len() + 1;
            if depth > MAX_DEPTH || nodes > MAX_NODES {
                let why = format!("calls lie more than {MAX_DEPTH} deep in each other, or make over {MAX_NODES} nodes");
                return Err(broken(origin, why));
            }
            for (index, node) in body.nodes.iter().enumerate() {
                for (_, attribute) in &node.attributes {
                    let Attribute::Graphs(graphs) = attribute else { continue };
                    let scope = |body| Scope { body: Arc::clone(body), parent: Some(next), call: None, depth };
                    all.extend(graphs.iter().map(scope));
                }
                // Functions of ONNX itself are operators, even if the model has their definition.
                let key = (node.domain.clone(), node.op.clone(), node.overload.clone());
                if let Some(function) = model.functions.get(&key).filter(|_| !node.is_standard()) {
                    all.push(Scope { body: Arc::clone(function), parent: None, call: Some((next, index)), depth });
                }
            }
            next += 1;
        }
        Ok(Self { all, work: AtomicUsize::new(0) })
    }

    /// Allows a new call its work.
    pub(super) fn rest(&self) {
        self.work.store(0, Ordering::Relaxed);
    }

    /// Returns false if there was too much work for one call.
    pub(super) fn spend(&self, work: usize) -> bool {
        self.work.fetch_add(work, Ordering::Relaxed) < MAX_WORK
    }

    pub(super) fn body(&self, scope: usize) -> Option<&Body> {
        self.all.get(scope).map(|scope| &*scope.body)
    }

    pub(super) fn node(&self, scope: usize, node: usize) -> Option<&Node> {
        self.body(scope)?.nodes.get(node)
    }

    /// Returns scope and index of every node.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (usize, usize, &Node)> {
        let scopes = self.all.iter().enumerate();
        scopes.flat_map(|(scope, s)| s.body.nodes.iter().enumerate().map(move |(index, node)| (scope, index, node)))
    }

    /// Returns what makes the value that a node of a scope calls `name`. Identity changes nothing.
    pub(super) fn origin(&self, mut scope: usize, name: &str) -> Origin<'_> {
        let mut name = name.to_owned();
        // Every round but those of Identity goes up a scope.
        for _ in 0..8 * MAX_DEPTH {
            let Some(Scope { body, parent, call, .. }) = self.all.get(scope) else { return Origin::Nothing };
            if let Some(tensor) = body.initialisers.get(&name) {
                return Origin::Initialiser(tensor);
            }
            if body.sparse.contains(&name) {
                return Origin::Sparse;
            }
            if let Some(&(node, output)) = body.producers.get(&name) {
                match body.nodes.get(node) {
                    Some(n) if n.op == "Identity" && n.is_standard() && n.input(0).is_some() => {
                        name = n.input(0).unwrap_or_default().to_owned();
                        continue;
                    }
                    _ => return Origin::Node(scope, node, output),
                }
            }
            match (body.inputs.iter().position(|input| *input == name), call, parent) {
                (Some(index), &Some((outer, node)), _) => {
                    let Some(actual) = self.node(outer, node).and_then(|node| node.input(index)) else {
                        return Origin::Nothing;
                    };
                    (scope, name) = (outer, actual.to_owned());
                }
                (Some(_), None, _) => return Origin::Input,
                (None, _, &Some(outer)) => scope = outer,
                (None, _, None) => return Origin::Nothing,
            }
        }
        Origin::Nothing
    }

    /// Returns the declared shape of a value.
    pub(super) fn declared(&self, scope: usize, name: &str) -> Option<&[Option<usize>]> {
        let mut scope = self.all.get(scope)?;
        loop {
            if let Some(shape) = scope.body.declared.get(name) {
                return Some(shape);
            }
            scope = self.all.get(scope.parent?)?;
        }
    }

    /// Returns an attribute of a node, which may be one of the function that contains it.
    pub(super) fn attribute(&self, mut scope: usize, node: usize, name: &str) -> Option<&Attribute> {
        let mut attributes = &self.node(scope, node)?.attributes;
        let mut name = name;
        for _ in 0..MAX_DEPTH {
            match attributes.iter().find(|(other, _)| other == name) {
                Some((_, Attribute::Reference(outer))) => name = outer,
                found => return found.map(|(_, attribute)| attribute),
            }
            while let Some(Scope { parent: Some(parent), .. }) = self.all.get(scope) {
                scope = *parent;
            }
            let Scope { body, call, .. } = self.all.get(scope)?;
            let (outer, caller) = (*call)?;
            attributes = &self.node(outer, caller)?.attributes;
            if !attributes.iter().any(|(other, _)| other == name) {
                attributes = &body.defaults;
            }
            scope = outer;
        }
        None
    }

    pub(super) fn int(&self, scope: usize, node: usize, name: &str) -> Option<i64> {
        match self.attribute(scope, node, name)? {
            Attribute::Int(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn ints(&self, scope: usize, node: usize, name: &str) -> Option<&[i64]> {
        match self.attribute(scope, node, name)? {
            Attribute::Ints(values) => Some(values),
            _ => None,
        }
    }
}
