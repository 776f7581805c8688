//! What operations make of shapes: plans of their results, or `None` if operands and attributes do not fit.

use std::collections::HashSet;

use crate::memory::element_count;

use super::fold::{Kind, Plan};

/// Returns an axis, counted from the end if it is negative.
fn axis(index: i64, rank: usize) -> Option<usize> {
    let index = if index < 0 { index.checked_add(rank as i64)? } else { index };
    usize::try_from(index).ok().filter(|&index| index < rank)
}

/// Returns the first index and the number of indices of `start..end` by `step`, which is not zero.
pub(super) fn bounds(size: usize, start: i64, end: i64, step: i64) -> (usize, usize) {
    let size = size as i128;
    let from_end = |index: i64| if index < 0 { i128::from(index) + size } else { i128::from(index) };
    let step = i128::from(step);
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let (start, end) = (from_end(start).clamp(low, high), from_end(end).clamp(low, high));
    let distance = if step > 0 { end - start } else { start - end };
    let count = if distance <= 0 { 0 } else { (distance - 1) / step.abs() + 1 };
    (usize::try_from(start).unwrap_or(0), usize::try_from(count).unwrap_or(0))
}

fn strides(shape: &[usize]) -> Vec<isize> {
    let mut stride = 1_isize;
    let mut strides: Vec<_> = shape
        .iter()
        .rev()
        .map(|&size| {
            let this = stride;
            stride = stride.saturating_mul(isize::try_from(size).unwrap_or(isize::MAX));
            this
        })
        .collect();
    strides.reverse();
    strides
}

fn same(input: Plan, shape: Vec<usize>) -> Option<Plan> {
    let count = |shape: &[usize]| element_count::<u64>("a reshaped tensor", shape).ok();
    (count(&shape)? == count(&input.shape)?).then(|| Plan { dtype: input.dtype, shape, kind: Kind::Same(input.into()) })
}

pub(super) fn reshape(input: Plan, sizes: &[i64], allow_zero: bool) -> Option<Plan> {
    let total = element_count::<u64>("a reshaped tensor", &input.shape).ok()?;
    let mut shape = Vec::new();
    for (index, &size) in sizes.iter().enumerate() {
        shape.push(match size {
            -1 => 1,
            0 if !allow_zero => *input.shape.get(index)?,
            size => usize::try_from(size).ok()?,
        });
    }
    if let Some(free) = sizes.iter().position(|&size| size == -1) {
        let others = element_count::<u64>("a reshaped tensor", &shape).ok()?;
        *shape.get_mut(free)? = total.checked_div(others)?;
    }
    same(input, shape)
}

pub(super) fn squeeze(input: Plan, axes: Option<&[i64]>) -> Option<Plan> {
    let rank = input.shape.len();
    let axes: Option<HashSet<_>> = match axes {
        Some(axes) => axes.iter().map(|&index| axis(index, rank)).collect(),
        None => Some(input.shape.iter().enumerate().filter(|&(_, &size)| size == 1).map(|(index, _)| index).collect()),
    };
    let axes = axes?;
    let kept = input.shape.iter().enumerate().filter(|(index, _)| !axes.contains(index)).map(|(_, &size)| size);
    let shape = kept.collect();
    same(input, shape)
}

pub(super) fn unsqueeze(input: Plan, axes: &[i64]) -> Option<Plan> {
    let rank = input.shape.len() + axes.len();
    let axes: HashSet<_> = axes.iter().map(|&index| axis(index, rank)).collect::<Option<_>>()?;
    let mut old = input.shape.iter();
    let shape = (0..rank).map(|index| if axes.contains(&index) { Some(1) } else { old.next().copied() });
    let shape = shape.collect::<Option<_>>()?;
    same(input, shape)
}

pub(super) fn transpose(input: Plan, order: &[i64]) -> Option<Plan> {
    let rank = input.shape.len();
    let order: Vec<_> = order.iter().map(|&index| axis(index, rank)).collect::<Option<_>>()?;
    if order.len() != rank || order.iter().collect::<HashSet<_>>().len() != rank {
        return None;
    }
    let old = strides(&input.shape);
    let shape = order.iter().filter_map(|&index| input.shape.get(index).copied()).collect();
    let strides = order.iter().filter_map(|&index| old.get(index).copied()).collect();
    Some(Plan { dtype: input.dtype, shape, kind: Kind::Strided(input.into(), 0, strides) })
}

pub(super) fn slice(input: Plan, starts: &[i64], ends: &[i64], axes: &[i64], steps: &[i64]) -> Option<Plan> {
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return None;
    }
    let (mut shape, mut strides, mut offset) = (input.shape.clone(), strides(&input.shape), 0_usize);
    for (((&start, &end), &index), &step) in starts.iter().zip(ends).zip(axes).zip(steps) {
        let index = axis(index, shape.len())?;
        if step == 0 {
            return None;
        }
        let (first, count) = bounds(*input.shape.get(index)?, start, end, step);
        let stride = strides.get_mut(index)?;
        offset = offset.checked_add(first.checked_mul(usize::try_from(*stride).ok()?)?)?;
        *stride = stride.saturating_mul(isize::try_from(step).ok()?);
        *shape.get_mut(index)? = count;
    }
    Some(Plan { dtype: input.dtype, shape, kind: Kind::Strided(input.into(), offset, strides) })
}

pub(super) fn split(input: Plan, sizes: Option<&[i64]>, index: i64, outputs: usize, output: usize) -> Option<Plan> {
    let size = *input.shape.get(axis(index, input.shape.len())?)? as i64;
    let each = (size as u64).div_ceil(outputs.max(1) as u64) as i64;
    let start = match sizes {
        Some(sizes) => sizes.iter().take(output).try_fold(0_i64, |sum, &size| sum.checked_add(size))?,
        None => each.checked_mul(output as i64)?,
    };
    let end = start.checked_add(sizes.map_or(Some(each), |sizes| sizes.get(output).copied())?)?;
    if start < 0 || end < start || (sizes.is_some() && end > size) {
        return None;
    }
    slice(input, &[start], &[end], &[index], &[1])
}

pub(super) fn expand(input: Plan, sizes: &[i64]) -> Option<Plan> {
    let rank = sizes.len().max(input.shape.len());
    let (old_strides, missing) = (strides(&input.shape), rank - input.shape.len());
    let (mut shape, mut strides) = (Vec::new(), Vec::new());
    for index in 0..rank {
        let old = index.checked_sub(missing).and_then(|index| input.shape.get(index)).copied().unwrap_or(1);
        let wanted = match (index + sizes.len()).checked_sub(rank).and_then(|index| sizes.get(index)) {
            Some(&size) => usize::try_from(size).ok()?,
            None => 1,
        };
        let stride = index.checked_sub(missing).and_then(|index| old_strides.get(index)).copied().unwrap_or(0);
        let (size, stride) = match (old, wanted) {
            (1, wanted) => (wanted, 0),
            (old, 1) => (old, stride),
            (old, wanted) if old == wanted => (old, stride),
            _ => return None,
        };
        shape.push(size);
        strides.push(stride);
    }
    Some(Plan { dtype: input.dtype, shape, kind: Kind::Strided(input.into(), 0, strides) })
}

pub(super) fn concat(parts: Vec<Plan>, index: i64) -> Option<Plan> {
    let first = parts.first()?;
    let (dtype, mut shape) = (first.dtype, first.shape.clone());
    let index = axis(index, shape.len())?;
    let mut size = 0_usize;
    for part in &parts {
        let mut other = part.shape.clone();
        size = size.checked_add(*other.get(index)?)?;
        *other.get_mut(index)? = *shape.get(index)?;
        if other != shape || part.dtype != dtype {
            return None;
        }
    }
    *shape.get_mut(index)? = size;
    Some(Plan { dtype, shape, kind: Kind::Concat(parts, index) })
}

pub(super) fn gather(input: Plan, values: &[i64], indices: &[usize], index: i64) -> Option<Plan> {
    let index = axis(index, input.shape.len())?;
    let size = *input.shape.get(index)?;
    let chosen: Vec<_> = values.iter().map(|&value| axis(value, size)).collect::<Option<_>>()?;
    let mut shape = input.shape.get(..index)?.to_vec();
    shape.extend_from_slice(indices);
    shape.extend_from_slice(input.shape.get(index + 1..)?);
    Some(Plan { dtype: input.dtype, shape, kind: Kind::Gather(input.into(), index, chosen) })
}
