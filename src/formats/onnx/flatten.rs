//! The Reshape between two layers of a stack: whether it joins directions and features, and nothing else.

use super::scopes::Origin;
use super::stacks::Stacks;

/// How many operations a size may take.
const MAX_STEPS: usize = 64;

/// One of the sizes that a Reshape gives.
enum TargetSize<'a> {
    Known(i64),
    /// That of an axis of a value, which a scope calls by the name.
    Of(usize, &'a str, usize),
    Unknown,
}

impl Stacks<'_> {
    /// Returns true if a Reshape joins the last two dimensions of `[T,B,D,H]` (in layout 1 `[B,T,D,H]`) and keeps the
    /// others: its first two sizes are 0, which keeps a size, or those of the steps and the batch.
    pub(super) fn flattens(&self, scope: usize, reshape: usize, lower: usize) -> Option<bool> {
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
                    at = Some(start).filter(|_| one(2) == start.checked_add(1));
                    at?;
                }
                "Shape" => {
                    let bound = |name: &str| self.scopes.int(own, index, name).map(usize::try_from);
                    let start = bound("start").unwrap_or(Ok(0)).ok()?;
                    let axis = match (at, bound("end")) {
                        (Some(at), _) => start.checked_add(at)?,
                        (None, Some(Ok(end))) if Some(end) == start.checked_add(1) => start,
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
}
