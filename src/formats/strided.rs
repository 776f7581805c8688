//! Strided views and foreign byte orders, brought to the order of [`Array`](crate::formats::array::Array).

use crate::error::Result;
use crate::memory::{element_count, reserved};

/// Returns the strides of a contiguous array, the last dimension fastest.
pub(crate) fn row_major(shape: &[usize]) -> Vec<usize> {
    strides(shape.iter().rev()).into_iter().rev().collect()
}

/// Returns the strides of a contiguous array, the first dimension fastest: Fortran's order.
#[cfg(feature = "npz")]
pub(crate) fn column_major(shape: &[usize]) -> Vec<usize> {
    strides(shape.iter())
}

/// Returns the strides of dimensions that are given from the fastest to the slowest.
fn strides<'a>(sizes: impl Iterator<Item = &'a usize>) -> Vec<usize> {
    let each = sizes.scan(1_usize, |next, &size| {
        let stride = *next;
        *next = next.saturating_mul(size.max(1));
        Some(stride)
    });
    each.collect()
}

/// Returns true if the elements of a view lie one after the other in row-major order.
pub(crate) fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let expected = row_major(shape);
    // A dimension of one element never moves, whatever its stride says.
    shape.iter().zip(strides.iter().zip(&expected)).all(|(&size, (stride, expected))| size <= 1 || stride == expected)
}

/// Returns the number of elements from the first of a view to its last, both included, or `None` if it overflows.
#[cfg(feature = "pytorch")]
pub(crate) fn span(shape: &[usize], strides: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    let mut sizes = shape.iter().zip(strides);
    let last = sizes.try_fold(0_usize, |last, (size, stride)| last.checked_add((size - 1).checked_mul(*stride)?));
    last?.checked_add(1)
}

/// Copies the elements of a view one after the other; elements outside of `source` are zeros.
pub(crate) fn gathered(what: &str, source: &[u8], item: usize, shape: &[usize], strides: &[usize]) -> Result<Vec<u8>> {
    let mut dimensions = shape.to_vec();
    dimensions.push(item);
    let mut bytes: Vec<u8> = reserved(what, &dimensions)?;
    let total = element_count::<u8>(what, &dimensions)?;
    let zeros = vec![0; item];
    let mut index = vec![0_usize; shape.len()];
    let mut at = 0_usize;
    while bytes.len() < total {
        let element = at.checked_mul(item).and_then(|start| source.get(start..start.checked_add(item)?));
        bytes.extend_from_slice(element.unwrap_or(&zeros));
        // The index counts up, the last dimension first, and takes the position along.
        for ((i, &size), &stride) in index.iter_mut().zip(shape).zip(strides).rev() {
            *i += 1;
            if *i < size {
                at = at.wrapping_add(stride);
                break;
            }
            *i = 0;
            at = at.wrapping_sub((size - 1).wrapping_mul(stride));
        }
    }
    Ok(bytes)
}

/// Reverses the bytes of every element of `item` bytes.
pub(crate) fn swap_bytes(bytes: &mut [u8], item: usize) {
    if item > 1 {
        bytes.chunks_exact_mut(item).for_each(<[u8]>::reverse);
    }
}
