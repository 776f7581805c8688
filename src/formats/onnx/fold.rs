//! Values that a graph computes from constants alone, as exporters write weights: planned first, which tells their
//! shape and reads only axes and the like; computed when they are needed.

use std::collections::HashSet;

use safetensors::Dtype;

use crate::error::{Error, Result};
use crate::formats::array::Array;
use crate::memory::element_count;

use super::proto::Attribute;
use super::scopes::{Origin, Scopes};
use super::store::Store;
use super::tensor::{ElementType, TensorRef, integers, size_of};
use super::views::{bounds, concat, expand, gather, reshape, slice, split, squeeze, transpose, unsqueeze};

/// How many operations one value may take.
const MAX_STEPS: usize = 1024;
const MAX_DEPTH: usize = 64;
/// How many axes, sizes or indices an operation may have.
const MAX_PARAMETERS: usize = 1 << 12;
/// A result may have this many bytes, and [`MAX_GROWTH`] times those that the file stores for it.
const MAX_BYTES: u64 = 16 << 20;
const MAX_GROWTH: u64 = 8;

/// How to compute a constant.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Stored(TensorRef),
    Literal(Vec<u8>),
    /// Every element has these bytes.
    Fill(Vec<u8>),
    /// The same numbers in another shape.
    Same(Box<Plan>),
    /// Elements at an offset and by strides, both counted in elements.
    Strided(Box<Plan>, usize, Vec<isize>),
    Concat(Vec<Plan>, usize),
    /// The given entries of an axis; the axis has the shape of the indices in the result.
    Gather(Box<Plan>, usize, Vec<usize>),
    Cast(Box<Plan>),
}

/// Plans one value.
pub(super) struct Folder<'a> {
    scopes: &'a Scopes,
    store: &'a Store,
    steps: usize,
    stored: HashSet<u64>,
    stored_bytes: u64,
}

impl<'a> Folder<'a> {
    pub(super) fn new(scopes: &'a Scopes, store: &'a Store) -> Self {
        Self { scopes, store, steps: 0, stored: HashSet::new(), stored_bytes: 0 }
    }

    /// Plans the value that a node of a scope calls `name`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] that says what makes the value if it is no constant, or one of unknown operations.
    pub(super) fn plan(&mut self, scope: usize, name: &str) -> Result<Plan> {
        self.at(scope, name, 0)
    }

    /// Returns the integers of a small constant, such as axes or sizes.
    pub(super) fn integers(mut self, scope: usize, name: &str) -> Option<Vec<i64>> {
        let plan = self.plan(scope, name).ok()?;
        (plan.shape.iter().product::<usize>() <= 8).then(|| plan.compute(self.store).ok().map(|a| integers(&a)))?
    }

    fn at(&mut self, scope: usize, name: &str, depth: usize) -> Result<Plan> {
        self.steps += 1;
        let no = |why: &str| Err(Error::Unsupported { what: format!("{name:?}"), why: why.to_owned() });
        if self.steps > MAX_STEPS || depth > MAX_DEPTH || !self.scopes.spend(1) {
            return no("it takes too many operations");
        }
        let plan = match self.scopes.origin(scope, name) {
            Origin::Initialiser(tensor) => self.stored(tensor)?,
            Origin::Sparse => return no("it is a sparse initialiser"),
            Origin::Input => return no("it is an input of the graph"),
            Origin::Nothing => return no("nothing in the graph makes it"),
            Origin::Node(scope, node, output) => self.node(scope, node, output, depth)?,
        };
        let count = element_count::<u64>(name, &plan.shape)?;
        if (count * size_of(plan.dtype)) as u64 > MAX_BYTES + self.stored_bytes.saturating_mul(MAX_GROWTH) {
            return no("it is far larger than what the file stores for it");
        }
        Ok(plan)
    }

    fn stored(&mut self, tensor: &TensorRef) -> Result<Plan> {
        let dtype = tensor.dtype.required(&tensor.name)?;
        let count = element_count::<u64>(&tensor.name, &tensor.shape)?;
        if self.stored.insert(tensor.message.start) {
            self.stored_bytes = self.stored_bytes.saturating_add((count * size_of(dtype)) as u64);
        }
        Ok(Plan { dtype, shape: tensor.shape.clone(), kind: Kind::Stored(tensor.clone()) })
    }

    fn node(&mut self, scope: usize, node: usize, output: usize, depth: usize) -> Result<Plan> {
        let scopes = self.scopes;
        let Some(n) = scopes.node(scope, node) else {
            return Err(Error::Unsupported { what: "a node".to_owned(), why: "it is not in the graph".to_owned() });
        };
        let unknown = |why: &str| {
            let name = n.outputs.get(output).map_or("", String::as_str);
            Err(Error::Unsupported { what: format!("{name:?}"), why: why.to_owned() })
        };
        if !n.is_standard() {
            return unknown(&format!("{}.{} computes it", n.domain, n.op));
        }
        let int = |name: &str| scopes.int(scope, node, name);
        // The operands that are read, before the operations: recursion is bounded by `depth`.
        let operand = |folder: &mut Self, index: usize| match n.input(index) {
            Some(name) => folder.at(scope, name, depth + 1),
            None => Err(Error::Unsupported { what: n.op.clone(), why: format!("input {index} of it is missing") }),
        };
        let list = |folder: &mut Self, attribute: &str, index: usize| -> Result<Option<Vec<i64>>> {
            if let Some(values) = scopes.ints(scope, node, attribute) {
                return Ok(Some(values.to_vec()));
            }
            match n.input(index) {
                Some(_) => {
                    let plan = operand(folder, index)?;
                    folder.small(&plan, attribute).map(Some)
                }
                None => Ok(None),
            }
        };
        let planned = match n.op.as_str() {
            "Constant" => match n.attributes.first().and_then(|(name, _)| scopes.attribute(scope, node, name)) {
                Some(Attribute::Tensor(tensor)) => Some(self.stored(tensor)?),
                Some(Attribute::Float(value)) => Some(literal(Dtype::F32, vec![], value.to_le_bytes().to_vec())),
                Some(Attribute::Int(value)) => Some(literal(Dtype::I64, vec![], value.to_le_bytes().to_vec())),
                Some(Attribute::Floats(values)) => {
                    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                    Some(literal(Dtype::F32, vec![values.len()], bytes))
                }
                Some(Attribute::Ints(values)) => Some(whole(values)),
                _ => None,
            },
            "ConstantOfShape" => {
                let shape = operand(self, 0)?;
                let sizes = self.small(&shape, "shape")?;
                let shape: Option<Vec<_>> = sizes.iter().map(|&size| usize::try_from(size).ok()).collect();
                let value = self.fill_value(scope, node)?;
                let fill = |shape| Plan { dtype: value.dtype, shape, kind: Kind::Fill(value.bytes) };
                shape.map(fill)
            }
            "Shape" => {
                let shape = operand(self, 0)?.shape;
                let range = bounds(shape.len(), int("start").unwrap_or(0), int("end").unwrap_or(i64::MAX), 1);
                let sizes = shape.iter().map(|&size| size as i64).skip(range.0).take(range.1);
                Some(whole(&sizes.collect::<Vec<_>>()))
            }
            "Cast" => {
                let input = operand(self, 0)?;
                let to = int("to").and_then(|to| u64::try_from(to).ok()).and_then(|to| ElementType(to).dtype());
                to.map(|dtype| Plan { dtype, shape: input.shape.clone(), kind: Kind::Cast(Box::new(input)) })
            }
            "Reshape" => {
                let input = operand(self, 0)?;
                let sizes = list(self, "shape", 1)?.unwrap_or_default();
                reshape(input, &sizes, int("allowzero") == Some(1))
            }
            "Squeeze" => {
                let input = operand(self, 0)?;
                let axes = list(self, "axes", 1)?;
                squeeze(input, axes.as_deref())
            }
            "Unsqueeze" => {
                let input = operand(self, 0)?;
                let axes = list(self, "axes", 1)?.unwrap_or_default();
                unsqueeze(input, &axes)
            }
            "Transpose" => {
                let input = operand(self, 0)?;
                let reversed: Vec<_> = (0..input.shape.len() as i64).rev().collect();
                transpose(input, scopes.ints(scope, node, "perm").unwrap_or(&reversed))
            }
            "Slice" => {
                let input = operand(self, 0)?;
                let starts = list(self, "starts", 1)?.unwrap_or_default();
                let ends = list(self, "ends", 2)?.unwrap_or_default();
                let axes = list(self, "axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
                let steps = list(self, "steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
                slice(input, &starts, &ends, &axes, &steps)
            }
            "Split" => {
                let input = operand(self, 0)?;
                let sizes = list(self, "split", 1)?;
                split(input, sizes.as_deref(), int("axis").unwrap_or(0), n.outputs.len(), output)
            }
            "Expand" => {
                let input = operand(self, 0)?;
                let sizes = list(self, "shape", 1)?.unwrap_or_default();
                expand(input, &sizes)
            }
            "Concat" => {
                let mut parts = Vec::new();
                for index in 0..n.inputs.len() {
                    parts.push(operand(self, index)?);
                }
                concat(parts, int("axis").unwrap_or(1))
            }
            "Gather" => {
                let input = operand(self, 0)?;
                let indices = operand(self, 1)?;
                let values = self.small(&indices, "indices")?;
                gather(input, &values, &indices.shape, int("axis").unwrap_or(0))
            }
            // Sizes and positions, which an exporter may leave to be computed.
            op @ ("Add" | "Sub" | "Mul") => {
                let (a, b) = (operand(self, 0)?, operand(self, 1)?);
                if (a.dtype, b.dtype) != (Dtype::I64, Dtype::I64) {
                    return unknown(&format!("{op} computes it"));
                }
                let (values, others) = (self.small(&a, "sizes")?, self.small(&b, "sizes")?);
                arithmetic(op, (&a.shape, &values), (&b.shape, &others))
            }
            op => return unknown(&format!("{op} computes it")),
        };
        match planned {
            Some(plan) => Ok(plan),
            None => unknown(&format!("attributes, shapes and inputs of the {} that makes it do not fit", n.op)),
        }
    }

    /// Returns what a ConstantOfShape fills an array with.
    pub(super) fn fill_value(&self, scope: usize, node: usize) -> Result<Array> {
        match self.scopes.attribute(scope, node, "value") {
            Some(Attribute::Tensor(tensor)) if element_count::<u64>("value", &tensor.shape)? == 1 => {
                tensor.load(self.store)
            }
            _ => Ok(Array { dtype: Dtype::F32, shape: vec![], bytes: vec![0; 4] }),
        }
    }

    /// Computes axes, sizes or indices.
    fn small(&self, plan: &Plan, what: &str) -> Result<Vec<i64>> {
        let count = element_count::<u64>(what, &plan.shape)?;
        if count > MAX_PARAMETERS || !self.scopes.spend(count) {
            let why = "there are too many of them".to_owned();
            return Err(Error::Unsupported { what: what.to_owned(), why });
        }
        Ok(integers(&plan.compute(self.store)?))
    }
}

/// Computes with integers of one shape, or with those of a shape and a single one. `None` for other shapes, and for
/// results that no size has.
fn arithmetic(op: &str, a: (&[usize], &[i64]), b: (&[usize], &[i64])) -> Option<Plan> {
    let shape = match (a, b) {
        ((a, _), (b, _)) if a == b => a,
        ((a, _), (b, &[_])) if b.len() <= a.len() => a,
        ((a, &[_]), (b, _)) if a.len() <= b.len() => b,
        _ => return None,
    };
    let compute = match op {
        "Add" => i64::checked_add,
        "Sub" => i64::checked_sub,
        _ => i64::checked_mul,
    };
    let (a, b) = (a.1.iter().cycle(), b.1.iter().cycle());
    let results = a.zip(b).take(shape.iter().product()).map(|(&a, &b)| compute(a, b));
    let bytes = results.collect::<Option<Vec<_>>>()?.into_iter().flat_map(i64::to_le_bytes).collect();
    Some(literal(Dtype::I64, shape.to_vec(), bytes))
}

fn literal(dtype: Dtype, shape: Vec<usize>, bytes: Vec<u8>) -> Plan {
    Plan { dtype, shape, kind: Kind::Literal(bytes) }
}

fn whole(values: &[i64]) -> Plan {
    literal(Dtype::I64, vec![values.len()], values.iter().flat_map(|value| value.to_le_bytes()).collect())
}
