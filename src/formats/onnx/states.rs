//! Initial states that a graph makes for a batch of any size: zeros, or one row that it repeats.

use super::fold::{Folder, Plan};
use super::scopes::{Origin, Scopes};
use super::store::Store;
use super::views::{concat, expand, slice, squeeze, transpose, unsqueeze};

/// How many operations there may be between a state and a constant.
const MAX_DEPTH: usize = 32;

pub(super) struct States<'a> {
    pub(super) scopes: &'a Scopes,
    pub(super) store: &'a Store,
}

/// An array that is the same all along one axis, whose size is not known: the plan has 1 there.
struct Repeated {
    plan: Plan,
    axis: usize,
}

impl States<'_> {
    /// Returns true for a value that is zero everywhere, whatever its shape: zeros that are only moved.
    pub(super) fn is_zero(&self, scope: usize, name: &str) -> bool {
        /// More numbers than common layers have in a state.
        const MOST: usize = 1 << 14;
        let (mut scope, mut name) = (scope, name);
        for _ in 0..MAX_DEPTH {
            if let Some(plan) = self.constant(scope, name) {
                let count = plan.shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
                return count.is_some_and(|count| (1..=MOST).contains(&count) && self.scopes.spend(count))
                    && plan.compute(self.store).is_ok_and(|array| array.bytes.iter().all(|&byte| byte == 0));
            }
            let Origin::Node(own, index, _) = self.scopes.origin(scope, name) else { return false };
            let Some(node) = self.scopes.node(own, index).filter(|node| node.is_standard()) else { return false };
            match node.op.as_str() {
                "ConstantOfShape" => {
                    let value = Folder::new(self.scopes, self.store).fill_value(own, index);
                    return value.is_ok_and(|value| value.bytes.iter().all(|&byte| byte == 0));
                }
                "Expand" | "Tile" | "Slice" | "Split" | "Gather" | "Reshape" | "Transpose" | "Squeeze"
                | "Unsqueeze" | "Cast" => match node.input(0) {
                    Some(input) => (scope, name) = (own, input),
                    None => return false,
                },
                _ => return false,
            }
        }
        false
    }

    /// Plans the row that a state of `shape`, with 1 for its batch, repeats for every row.
    pub(super) fn row(&self, scope: usize, name: &str, shape: &[usize], batch_axis: usize) -> Option<Plan> {
        let Repeated { plan, axis } = self.repeated(scope, name, batch_axis, 0)?;
        (axis == batch_axis && plan.shape == shape).then_some(plan)
    }

    /// Plans a value that is repeated along one axis. `guess` is the axis if nothing tells it.
    fn repeated(&self, scope: usize, name: &str, guess: usize, depth: usize) -> Option<Repeated> {
        if depth > MAX_DEPTH || !self.scopes.spend(1) {
            return None;
        }
        let Origin::Node(own, index, 0) = self.scopes.origin(scope, name) else { return None };
        let node = self.scopes.node(own, index).filter(|node| node.is_standard())?;
        let inner = |index: usize| self.repeated(own, node.input(index)?, guess, depth + 1);
        let list = |attribute: &str, input: usize| match self.scopes.ints(own, index, attribute) {
            Some(values) => Some(values.to_vec()),
            None => self.integers(own, node.input(input)?),
        };
        match node.op.as_str() {
            "Expand" => {
                let input = self.constant(own, node.input(0)?)?;
                match self.sizes(own, node.input(1)?) {
                    Some((sizes, axis)) => {
                        let missing = sizes.len().checked_sub(input.shape.len())?;
                        let old = axis.checked_sub(missing).and_then(|axis| input.shape.get(axis));
                        let plan = expand(input.clone(), &sizes)?;
                        (old.is_none_or(|&old| old == 1) && plan.shape.get(axis) == Some(&1))
                            .then_some(Repeated { plan, axis })
                    }
                    // Sizes of which nothing is known: of a shape of this rank, they leave all but the axes of size 1
                    // as they are. That it is the batch's, the shape of the whole shows.
                    None => (input.shape.len() == 3 && input.shape.get(guess) == Some(&1))
                        .then_some(Repeated { plan: input, axis: guess }),
                }
            }
            "Tile" => {
                let (input, (repeats, axis)) = (self.constant(own, node.input(0)?)?, self.sizes(own, node.input(1)?)?);
                let once = repeats.iter().all(|&count| count == 1) && repeats.len() == input.shape.len();
                (once && input.shape.get(axis) == Some(&1)).then_some(Repeated { plan: input, axis })
            }
            "Slice" => {
                let Repeated { plan, axis } = inner(0)?;
                let (starts, ends) = (list("starts", 1)?, list("ends", 2)?);
                let axes = list("axes", 3).unwrap_or_else(|| (0..starts.len() as i64).collect());
                let steps = match node.input(4) {
                    Some(_) => list("steps", 4)?,
                    None => vec![1; starts.len()],
                };
                let rank = plan.shape.len() as i64;
                let elsewhere = axes.iter().all(|&other| other.rem_euclid(rank.max(1)) != axis as i64);
                let known = node.input(3).is_none() || list("axes", 3).is_some();
                let plan = slice(plan, &starts, &ends, &axes, &steps).filter(|_| elsewhere && known)?;
                Some(Repeated { plan, axis })
            }
            "Transpose" => {
                let Repeated { plan, axis } = inner(0)?;
                let reversed: Vec<_> = (0..plan.shape.len() as i64).rev().collect();
                let perm = self.scopes.ints(own, index, "perm").unwrap_or(&reversed);
                let axis = perm.iter().position(|&from| from == axis as i64)?;
                Some(Repeated { plan: transpose(plan, perm)?, axis })
            }
            "Unsqueeze" => {
                let (Repeated { plan, axis }, axes) = (inner(0)?, list("axes", 1)?);
                let rank = (plan.shape.len() + axes.len()) as i64;
                let new: Vec<_> = axes.iter().map(|&axis| axis.rem_euclid(rank)).collect();
                let old: Vec<_> = (0..rank).filter(|axis| !new.contains(axis)).collect();
                let axis = usize::try_from(*old.get(axis)?).ok()?;
                Some(Repeated { plan: unsqueeze(plan, &axes)?, axis })
            }
            "Squeeze" => {
                let (Repeated { plan, axis }, axes) = (inner(0)?, list("axes", 1)?);
                let rank = plan.shape.len() as i64;
                let gone: Vec<_> = axes.iter().map(|&axis| axis.rem_euclid(rank.max(1))).collect();
                let left: Vec<_> = (0..rank).filter(|axis| !gone.contains(axis)).collect();
                let axis = left.iter().position(|&left| left == axis as i64)?;
                Some(Repeated { plan: squeeze(plan, Some(&axes))?, axis })
            }
            "Concat" => {
                let parts: Vec<_> = (0..node.inputs.len()).map(inner).collect::<Option<_>>()?;
                let axis = parts.first()?.axis;
                let rank = parts.first()?.plan.shape.len() as i64;
                let joined = self.scopes.int(own, index, "axis")?;
                let same = parts.iter().all(|part| part.axis == axis && part.plan.shape.len() as i64 == rank);
                if !same || joined.rem_euclid(rank.max(1)) == axis as i64 {
                    return None;
                }
                Some(Repeated { plan: concat(parts.into_iter().map(|part| part.plan).collect(), joined)?, axis })
            }
            _ => None,
        }
    }

    /// Returns sizes of which exactly one is not known, with 1 for it, and which one.
    fn sizes(&self, scope: usize, name: &str) -> Option<(Vec<i64>, usize)> {
        let Origin::Node(own, index, 0) = self.scopes.origin(scope, name) else { return None };
        let node = self.scopes.node(own, index).filter(|node| node.is_standard() && node.op == "Concat")?;
        let (mut sizes, mut unknown) = (Vec::new(), None);
        for index in 0..node.inputs.len() {
            match self.integers(own, node.input(index)?) {
                Some(known) => sizes.extend(known),
                None if unknown.is_none() => {
                    unknown = Some(sizes.len());
                    sizes.push(1);
                }
                None => return None,
            }
        }
        Some((sizes, unknown?))
    }

    fn constant(&self, scope: usize, name: &str) -> Option<Plan> {
        Folder::new(self.scopes, self.store).plan(scope, name).ok()
    }

    fn integers(&self, scope: usize, name: &str) -> Option<Vec<i64>> {
        Folder::new(self.scopes, self.store).integers(scope, name)
    }
}
