//! Recurrent nodes that form one deep layer, as PyTorch's exporters write it: a node for each layer.

use super::fold::Folder;
use super::node::RecurrentNode;
use super::scopes::{Origin, Scopes};
use super::store::Store;
use super::tensor::integers;

/// How many operations the target of a Reshape may take.
const MAX_STEPS: usize = 64;

/// One of the sizes that a Reshape gives.
enum TargetSize<'a> {
    Known(i64),
    /// That of an axis of a value, which a scope calls by the name.
    Of(usize, &'a str, usize),
    Unknown,
}

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
    fn producer(&self, scope: usize, name: &str) -> Option<(usize, usize)> {
        match self.scopes.origin(scope, name) {
            Origin::Node(scope, node, 0) if self.scopes.node(scope, node)?.is_standard() => Some((scope, node)),
            _ => None,
        }
    }

    fn values(&self, scope: usize, name: &str) -> Option<Vec<i64>> {
        let plan = Folder::new(self.scopes, self.store).plan(scope, name).ok()?;
        (plan.shape.iter().product::<usize>() <= 8).then(|| plan.compute(self.store).ok().map(|a| integers(&a)))?
    }

    /// Returns true if a Reshape joins the last two dimensions of `[T,B,D,H]` (in layout 1 `[B,T,D,H]`) and keeps the
    /// others: its first two sizes are 0, which keeps a size, or those of the steps and the batch.
    fn flattens(&self, scope: usize, reshape: usize, lower: usize) -> Option<bool> {
        let (op, node) = (self.scopes.node(scope, reshape)?, self.nodes.get(lower)?);
        let &(lower_scope, lower_at) = self.places.get(lower)?;
        let lower_op = self.scopes.node(lower_scope, lower_at)?;
        let features = node.direction.count().checked_mul(node.hidden_size)?;
        // What has the same sizes, and where: the joined array, Y and X.
        let of_y = if node.layout == 0 { [0, 2] } else { [0, 1] };
        let known = [
            (scope, op.input(0)?, [0, 1]),
            (lower_scope, lower_op.outputs.first()?.as_str(), of_y),
            (lower_scope, lower_op.input(0)?, [0, 1]),
        ];
        let zero_keeps = self.scopes.int(scope, reshape, "allowzero") != Some(1);
        let target = self.target(scope, reshape)?;
        let declared = |which: usize| {
            known.iter().find_map(|&(scope, name, axes)| *self.scopes.declared(scope, name)?.get(*axes.get(which)?)?)
        };
        let keeps = |which: usize| match target.get(which) {
            Some(TargetSize::Known(0)) => zero_keeps,
            Some(&TargetSize::Known(size)) => usize::try_from(size).is_ok_and(|size| declared(which) == Some(size)),
            Some(&TargetSize::Of(other_scope, other, axis)) => known.iter().any(|&(scope, name, axes)| {
                axes.get(which) == Some(&axis) && self.is_same((other_scope, other), (scope, name))
            }),
            Some(TargetSize::Unknown) | None => false,
        };
        let is_rest = |which: usize| matches!(target.get(which), Some(TargetSize::Known(-1)));
        let is_features =
            matches!(target.get(2), Some(&TargetSize::Known(size)) if usize::try_from(size) == Ok(features));
        // Two of three sizes give the last one.
        let both = keeps(0) && keeps(1) && !matches!(target.get(2), Some(TargetSize::Known(0)));
        Some(both || (is_features && ((keeps(0) && is_rest(1)) || (is_rest(0) && keeps(1)))))
    }

    /// Returns the three sizes of a Reshape's target.
    fn target(&self, scope: usize, reshape: usize) -> Option<[TargetSize<'_>; 3]> {
        let op = self.scopes.node(scope, reshape)?;
        let values = match self.scopes.ints(scope, reshape, "shape") {
            Some(values) => Some(values.to_vec()),
            None => self.values(scope, op.input(1)?),
        };
        if let Some(values) = values {
            return Some(<[i64; 3]>::try_from(values).ok()?.map(TargetSize::Known));
        }
        let (own, concat) = self.producer(scope, op.input(1)?)?;
        let concat = self.scopes.node(own, concat).filter(|node| node.op == "Concat" && node.inputs.len() == 3)?;
        let part = |index: usize| {
            let name = concat.input(index)?;
            match self.values(own, name).as_deref() {
                Some(&[size]) => Some(TargetSize::Known(size)),
                Some(_) => None,
                None => Some(self.size_of(own, name).unwrap_or(TargetSize::Unknown)),
            }
        };
        Some([part(0)?, part(1)?, part(2)?])
    }

    /// Returns of which value, and of which of its axes, a value is the size.
    fn size_of<'b>(&'b self, mut scope: usize, mut name: &'b str) -> Option<TargetSize<'b>> {
        let mut at = None;
        for _ in 0..MAX_STEPS {
            let (own, index) = self.producer(scope, name)?;
            let node = self.scopes.node(own, index)?;
            let one = |input: usize| match *self.values(own, node.input(input)?)? {
                [value] => usize::try_from(value).ok(),
                _ => None,
            };
            match node.op.as_str() {
                "Unsqueeze" | "Squeeze" | "Reshape" | "Cast" => {}
                "Gather" if at.is_none() => at = Some(one(1)?),
                "Slice" if at.is_none() => {
                    let start = one(1)?;
                    if one(2)? != start + 1 {
                        return None;
                    }
                    at = Some(start);
                }
                "Shape" => {
                    let bound = |name: &str| self.scopes.int(own, index, name).map(usize::try_from);
                    let start = bound("start").unwrap_or(Ok(0)).ok()?;
                    let axis = match (at, bound("end")) {
                        (Some(at), _) => start + at,
                        (None, Some(Ok(end))) if end == start + 1 => start,
                        (None, _) => return None,
                    };
                    return Some(TargetSize::Of(own, node.input(0)?, axis));
                }
                _ => return None,
            }
            (scope, name) = (own, node.input(0)?);
        }
        None
    }

    /// Returns true for two names of one value.
    fn is_same(&self, (scope, name): (usize, &str), (other_scope, other): (usize, &str)) -> bool {
        match (self.scopes.origin(scope, name), self.scopes.origin(other_scope, other)) {
            (Origin::Node(a, b, c), Origin::Node(d, e, f)) => (a, b, c) == (d, e, f),
            (Origin::Input, Origin::Input) => (scope, name) == (other_scope, other),
            _ => false,
        }
    }

    fn same_form(&self, lower: &RecurrentNode, upper: &RecurrentNode) -> bool {
        let form = |node: &RecurrentNode| RecurrentNode { name: String::new(), input_size: None, ..node.clone() };
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
