//! The messages of an ONNX model, as far as recurrent layers and their weights need them.
//!
//! <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>. Tensors stay where they are: see
//! [`TensorRef`](super::tensor::TensorRef).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::error::{Error, Result};

use super::tensor::TensorRef;
use super::wire::{Span, Value, Wire};

/// How deep graphs may lie in each other: Protocol Buffers themselves end at 100 messages, three for each graph.
const MAX_DEPTH: usize = 33;
/// How many nodes, attributes, tensors, names and numbers a file may have outside of tensors: each takes a hundred
/// bytes of memory or fewer, and might take two in the file.
const MAX_ITEMS: usize = 1 << 21;

/// A model.
pub(super) struct Model {
    pub(super) graph: Arc<Body>,
    /// Functions of the model itself, by domain, name and overload.
    pub(super) functions: HashMap<(String, String, String), Arc<Body>>,
}

/// The nodes of a graph or a function, and what they refer to.
#[derive(Default)]
pub(super) struct Body {
    pub(super) nodes: Vec<Node>,
    pub(super) initialisers: BTreeMap<String, TensorRef>,
    /// Names of initialisers in ONNX's sparse form.
    pub(super) sparse: HashSet<String>,
    /// Names of the inputs, in order.
    pub(super) inputs: Vec<String>,
    /// Declared shapes of inputs, outputs and values between nodes; `None` is a dimension without a number.
    pub(super) declared: HashMap<String, Vec<Option<usize>>>,
    /// The node and the output of it that make a value.
    pub(super) producers: HashMap<String, (usize, usize)>,
    /// A function's attributes with their defaults.
    pub(super) defaults: Vec<(String, Attribute)>,
    name: String,
    domain: String,
    overload: String,
}

/// An operation.
#[derive(Default)]
pub(super) struct Node {
    pub(super) op: String,
    pub(super) domain: String,
    pub(super) overload: String,
    pub(super) name: String,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    pub(super) attributes: Vec<(String, Attribute)>,
}

/// The value of an attribute, as far as it has a known type.
#[derive(Clone)]
pub(super) enum Attribute {
    Float(f32),
    Int(i64),
    String(String),
    Tensor(TensorRef),
    Graphs(Vec<Arc<Body>>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Strings(Vec<String>),
    /// The attribute of this name of the function that contains the node.
    Reference(String),
    Other,
}

impl Node {
    /// Returns true for an operator of ONNX itself.
    pub(super) fn is_standard(&self) -> bool {
        matches!(self.domain.as_str(), "" | "ai.onnx")
    }

    /// Returns the name of an input that is given.
    pub(super) fn input(&self, index: usize) -> Option<&str> {
        self.inputs.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }
}

/// Reads a model from a whole file.
pub(super) fn model(wire: &mut Wire<'_>, length: u64) -> Result<Model> {
    let mut reader = Reader { wire, items: 0 };
    let (mut message, mut graph, mut functions) = (0..length, None, HashMap::new());
    let mut is_core_ml = false;
    while let Some((number, value)) = reader.wire.field(&mut message)? {
        match (number, value) {
            (7, Value::Span(span)) => graph = Some(reader.graph(span, 0)?),
            (25, Value::Span(span)) => {
                let function = reader.function(span)?;
                let key = (function.domain.clone(), function.name.clone(), function.overload.clone());
                functions.insert(key, Arc::new(function));
            }
            // The kinds of CoreML's models, which are protocol buffers that begin like ONNX's.
            (200..=3000, Value::Span(_)) => is_core_ml = true,
            _ => {}
        }
    }
    let Some(graph) = graph else {
        if is_core_ml {
            let why = "its layers are in a form of its own; export the model as ONNX".to_owned();
            return Err(Error::Unsupported { what: format!("{}, a CoreML model,", wire.origin()), why });
        }
        return Err(wire.broken("there is no graph in it"));
    };
    Ok(Model { graph: Arc::new(graph), functions })
}

struct Reader<'a, 'b> {
    wire: &'a mut Wire<'b>,
    items: usize,
}

impl Reader<'_, '_> {
    fn count(&mut self) -> Result<()> {
        self.items += 1;
        if self.items > MAX_ITEMS {
            return Err(self.wire.broken(format!("its graph has more than {MAX_ITEMS} items")));
        }
        Ok(())
    }

    fn string(&mut self, span: &Span) -> Result<String> {
        self.count()?;
        self.wire.string(span)
    }

    fn graph(&mut self, mut message: Span, depth: usize) -> Result<Body> {
        if depth >= MAX_DEPTH {
            return Err(self.wire.broken(format!("graphs lie more than {MAX_DEPTH} deep in each other")));
        }
        let mut body = Body::default();
        while let Some((number, value)) = self.wire.field(&mut message)? {
            let Value::Span(span) = value else { continue };
            match number {
                1 => self.node(&mut body, span, depth)?,
                5 => {
                    self.count()?;
                    let tensor = TensorRef::read(self.wire, span)?;
                    body.initialisers.insert(tensor.name.clone(), tensor);
                }
                11 => {
                    let name = self.declaration(&mut body, span)?;
                    body.inputs.push(name);
                }
                12 | 13 => {
                    self.declaration(&mut body, span)?;
                }
                15 => {
                    self.count()?;
                    let mut sparse = span;
                    while let Some((number, value)) = self.wire.field(&mut sparse)? {
                        if let (1, Value::Span(values)) = (number, value) {
                            body.sparse.insert(TensorRef::read(self.wire, values)?.name);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(body)
    }

    fn function(&mut self, mut message: Span) -> Result<Body> {
        self.count()?;
        let mut body = Body::default();
        while let Some((number, value)) = self.wire.field(&mut message)? {
            let Value::Span(span) = value else { continue };
            match number {
                1 => body.name = self.string(&span)?,
                4 => {
                    let name = self.string(&span)?;
                    body.inputs.push(name);
                }
                7 => self.node(&mut body, span, 0)?,
                10 => body.domain = self.string(&span)?,
                11 => {
                    let attribute = self.attribute(span, 0)?;
                    body.defaults.push(attribute);
                }
                12 => {
                    self.declaration(&mut body, span)?;
                }
                13 => body.overload = self.string(&span)?,
                _ => {}
            }
        }
        Ok(body)
    }

    fn node(&mut self, body: &mut Body, mut message: Span, depth: usize) -> Result<()> {
        self.count()?;
        let mut node = Node::default();
        while let Some((number, value)) = self.wire.field(&mut message)? {
            let Value::Span(span) = value else { continue };
            match number {
                1 => node.inputs.push(self.string(&span)?),
                2 => node.outputs.push(self.string(&span)?),
                3 => node.name = self.string(&span)?,
                4 => node.op = self.string(&span)?,
                5 => node.attributes.push(self.attribute(span, depth)?),
                7 => node.domain = self.string(&span)?,
                8 => node.overload = self.string(&span)?,
                _ => {}
            }
        }
        for (output, name) in node.outputs.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            body.producers.insert(name.clone(), (body.nodes.len(), output));
        }
        body.nodes.push(node);
        Ok(())
    }

    /// Reads an attribute. Without the field that names its type, which old files lack, the values tell it.
    fn attribute(&mut self, mut message: Span, depth: usize) -> Result<(String, Attribute)> {
        self.count()?;
        let (mut name, mut kind, mut found, mut reference) = (String::new(), 0, 0, None);
        let (mut float, mut int, mut string, mut tensor) = (0.0, 0, String::new(), None);
        let (mut graphs, mut floats, mut ints, mut strings) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        while let Some((number, value)) = self.wire.field(&mut message)? {
            match (number, value) {
                (1, Value::Span(span)) => name = self.string(&span)?,
                (2, Value::Fixed32(bytes)) => (float, found) = (f32::from_le_bytes(bytes), 1),
                (3, Value::Varint(value)) => (int, found) = (value as i64, 2),
                (4, Value::Span(span)) => (string, found) = (self.text(&span)?, 3),
                (5, Value::Span(span)) => (tensor, found) = (Some(TensorRef::read(self.wire, span)?), 4),
                (6 | 11, Value::Span(span)) => {
                    graphs.push(Arc::new(self.graph(span, depth + 1)?));
                    found = 5;
                }
                (7, Value::Fixed32(bytes)) => {
                    self.count()?;
                    floats.push(f32::from_le_bytes(bytes));
                    found = 6;
                }
                (7, Value::Span(span)) => {
                    let bytes = self.wire.bytes("an attribute", &span)?;
                    for four in bytes.chunks_exact(4) {
                        self.count()?;
                        floats.push(four.try_into().map(f32::from_le_bytes).unwrap_or_default());
                    }
                    found = 6;
                }
                (8, Value::Varint(value)) => {
                    self.count()?;
                    ints.push(value as i64);
                    found = 7;
                }
                (8, Value::Span(mut span)) => {
                    while let Some(value) = self.wire.packed_varint(&mut span)? {
                        self.count()?;
                        ints.push(value as i64);
                    }
                    found = 7;
                }
                (9, Value::Span(span)) => {
                    strings.push(self.text(&span)?);
                    found = 8;
                }
                (20, Value::Varint(value)) => kind = value,
                (21, Value::Span(span)) => reference = Some(self.string(&span)?),
                _ => {}
            }
        }
        let attribute = match (reference, if kind == 0 { found } else { kind }) {
            (Some(name), _) if !name.is_empty() => Attribute::Reference(name),
            (_, 1) => Attribute::Float(float),
            (_, 2) => Attribute::Int(int),
            (_, 3) => Attribute::String(string),
            (_, 4) => tensor.map_or(Attribute::Other, Attribute::Tensor),
            (_, 5 | 10) => Attribute::Graphs(graphs),
            (_, 6) => Attribute::Floats(floats),
            (_, 7) => Attribute::Ints(ints),
            (_, 8) => Attribute::Strings(strings),
            _ => Attribute::Other,
        };
        Ok((name, attribute))
    }

    /// Reads the string of an attribute, which may hold any bytes. They matter only where they are a name.
    fn text(&mut self, span: &Span) -> Result<String> {
        self.count()?;
        let bytes = self.wire.bytes("an attribute", span)?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// Reads name and shape of a value and returns the name.
    fn declaration(&mut self, body: &mut Body, mut message: Span) -> Result<String> {
        self.count()?;
        let (mut name, mut shape) = (String::new(), None);
        while let Some((number, value)) = self.wire.field(&mut message)? {
            match (number, value) {
                (1, Value::Span(span)) => name = self.string(&span)?,
                // ValueInfoProto.type, TypeProto.tensor_type, TypeProto.Tensor.shape
                (2, Value::Span(mut span)) => {
                    while let Some((number, value)) = self.wire.field(&mut span)? {
                        let (1, Value::Span(mut tensor)) = (number, value) else { continue };
                        while let Some((number, value)) = self.wire.field(&mut tensor)? {
                            if let (2, Value::Span(dimensions)) = (number, value) {
                                shape = Some(self.dimensions(dimensions)?);
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        if let Some(shape) = shape {
            body.declared.insert(name.clone(), shape);
        }
        Ok(name)
    }

    fn dimensions(&mut self, mut message: Span) -> Result<Vec<Option<usize>>> {
        let mut shape = Vec::new();
        while let Some((number, value)) = self.wire.field(&mut message)? {
            let (1, Value::Span(mut dimension)) = (number, value) else { continue };
            self.count()?;
            let mut size = None;
            while let Some((number, value)) = self.wire.field(&mut dimension)? {
                if let (1, Value::Varint(value)) = (number, value) {
                    size = usize::try_from(value as i64).ok();
                }
            }
            shape.push(size);
        }
        Ok(shape)
    }
}
