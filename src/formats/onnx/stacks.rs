//! Recurrent nodes that form one deep layer, as PyTorch's exporters write it: a node for each layer.

use super::fold::Folder;
use super::node::{Given, RecurrentNode};
use super::scopes::{Origin, Scopes};
use super::store::Store;

pub(super) struct Stacks<'a> {
    pub(super) scopes: &'a Scopes,
    pub(super) store: &'a Store,
    pub(super) nodes: &'a [RecurrentNode],
    /// Scope and node of each.
    pub(super) places: &'a [(usize, usize)],
}

impl Stacks<'_> {
    /// Returns the indices of the nodes of every deep layer, first layer first. A node of its own is a stack of one.
    pub(super) fn find(&self) -> Vec<Vec<usize>> {
        let below: Vec<_> = (0..self.nodes.len()).map(|index| self.below(index)).collect();
        // A node that feeds two others is the last layer of its stack.
        let above = |index: usize| {
            let mut above = below.iter().enumerate().filter(|&(_, &other)| other == Some(index));
            above.next().filter(|_| above.next().is_none()).map(|(upper, _)| upper)
        };
        let starts = |index: &usize| below.get(*index).copied().flatten().is_none_or(|lower| above(lower).is_none());
        let stack = |first: usize| {
            let layers = std::iter::successors(Some(first), |&index| above(index));
            layers.take(self.nodes.len()).collect()
        };
        (0..self.nodes.len()).filter(starts).map(stack).collect()
    }

    /// Returns the node whose Y is the X of another, through Squeeze or Transpose and Reshape alone, and of the same
    /// form.
    fn below(&self, index: usize) -> Option<usize> {
        let (node, &(scope, at)) = (self.nodes.get(index)?, self.places.get(index)?);
        let x = self.scopes.node(scope, at)?.input(0)?;
        let (scope, joined) = self.producer(scope, x)?;
        let op = self.scopes.node(scope, joined)?;
        let (lower_scope, lower_at) = match op.op.as_str() {
            "Squeeze" => {
                let axes = match self.scopes.ints(scope, joined, "axes") {
                    Some(axes) => axes.to_vec(),
                    None => self.values(scope, op.input(1)?)?,
                };
                let axis = if node.layout == 0 { 1 } else { 2 };
                (node.direction.count() == 1 && matches!(axes.as_slice(), &[a] if a == axis || a + 4 == axis))
                    .then(|| self.producer(scope, op.input(0)?))??
            }
            "Reshape" => match node.layout {
                0 => {
                    let (scope, transpose) = self.producer(scope, op.input(0)?)?;
                    let op = self.scopes.node(scope, transpose)?;
                    let perm = self.scopes.ints(scope, transpose, "perm")?;
                    (op.op == "Transpose" && perm == [0, 2, 1, 3]).then(|| self.producer(scope, op.input(0)?))??
                }
                _ => self.producer(scope, op.input(0)?)?,
            },
            _ => return None,
        };
        let lower_index = self.places.iter().position(|&place| place == (lower_scope, lower_at))?;
        let lower = self.nodes.get(lower_index)?;
        if op.op == "Reshape" && !self.flattens(scope, joined, lower_index)? {
            return None;
        }
        (lower_index != index && self.same_form(lower, node) && self.same_lengths(lower_index, index))
            .then_some(lower_index)
    }

    /// Returns the node whose first output a value is.
    pub(super) fn producer(&self, scope: usize, name: &str) -> Option<(usize, usize)> {
        match self.scopes.origin(scope, name) {
            Origin::Node(scope, node, 0) if self.scopes.node(scope, node)?.is_standard() => Some((scope, node)),
            _ => None,
        }
    }

    pub(super) fn values(&self, scope: usize, name: &str) -> Option<Vec<i64>> {
        Folder::new(self.scopes, self.store).integers(scope, name)
    }

    fn same_form(&self, lower: &RecurrentNode, upper: &RecurrentNode) -> bool {
        // Zeros and another constant are states of one kind.
        let state = |given: Given| if given == Given::Constant { Given::Absent } else { given };
        let form = |node: &RecurrentNode| RecurrentNode {
            name: String::new(),
            input_size: None,
            initial_h: state(node.initial_h),
            initial_c: state(node.initial_c),
            ..node.clone()
        };
        let features = lower.hidden_size.checked_mul(lower.direction.count());
        form(lower) == form(upper) && features.is_some() && upper.input_size == features
    }

    fn same_lengths(&self, lower: usize, upper: usize) -> bool {
        let name = |index: usize| {
            let &(scope, node) = self.places.get(index)?;
            Some((scope, self.scopes.node(scope, node)?.input(4)?))
        };
        name(lower) == name(upper)
    }
}
