//! Memory that grows with a caller's sizes: reserved before it is filled, so that a shortage is an error and not an
//! abort.
//!
//! `vec![..]`, `collect`, `to_vec` and `clone` end the process where the allocator has nothing left. Arrays whose
//! length a caller or a file decides are made here instead; small ones of bounded length need none of this.

use crate::error::{Error, Result};

/// The number of elements of `shape`, if that many can be addressed.
///
/// Dimensions of zero do not hide others that are too large: `[usize::MAX, 0]` is rejected whatever the order.
pub(crate) fn element_count<T>(what: &str, shape: &[usize]) -> Result<usize> {
    let addressable = shape.iter().filter(|&&size| size > 0).try_fold(1_usize, |n, &size| n.checked_mul(size));
    let bytes = addressable.and_then(|n| n.checked_mul(size_of::<T>()));
    match (addressable, bytes) {
        (Some(count), Some(bytes)) if isize::try_from(bytes).is_ok() => Ok(if shape.contains(&0) { 0 } else { count }),
        _ => Err(too_large::<T>(what, shape)),
    }
}

/// An empty vector with room for exactly `shape`.
pub(crate) fn reserved<T>(what: &str, shape: &[usize]) -> Result<Vec<T>> {
    let count = element_count::<T>(what, shape)?;
    let mut data = Vec::new();
    data.try_reserve_exact(count).map_err(|_| too_large::<T>(what, shape))?;
    Ok(data)
}

/// `value` in every place of `shape`.
pub(crate) fn filled<T: Copy>(what: &str, shape: &[usize], value: T) -> Result<Vec<T>> {
    let count = element_count::<T>(what, shape)?;
    let mut data = reserved(what, shape)?;
    data.resize(count, value);
    Ok(data)
}

/// Zeros for `shape`.
pub(crate) fn zeroed<T: bytemuck::Zeroable + Copy>(what: &str, shape: &[usize]) -> Result<Vec<T>> {
    filled(what, shape, T::zeroed())
}

/// The elements of a slice in a vector of their own.
pub(crate) fn copied<T: Copy>(what: &str, elements: &[T]) -> Result<Vec<T>> {
    let mut data = reserved(what, &[elements.len()])?;
    data.extend_from_slice(elements);
    Ok(data)
}

/// The first `count` elements of an iterator; shorter where it ends before.
pub(crate) fn collected<T>(what: &str, count: usize, elements: impl IntoIterator<Item = T>) -> Result<Vec<T>> {
    let mut data = reserved(what, &[count])?;
    data.extend(elements.into_iter().take(count));
    Ok(data)
}

fn too_large<T>(what: &str, shape: &[usize]) -> Error {
    Error::TooLarge { what: what.to_owned(), shape: shape.to_vec(), bytes_each: size_of::<T>() }
}
