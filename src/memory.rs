//! Memory that grows with a caller's sizes: reserved before it is filled, so that running out of it is an error instead
//! of an abort.
//!
//! `vec![..]`, `collect`, `to_vec` and `clone` abort the process if the allocator has no memory left. Arrays whose
//! length depends on a caller or a file are created here instead; small ones of bounded length do not need this.

use crate::error::{Error, Result};

/// Returns the number of elements of `shape`, if that many can be addressed.
///
/// A dimension of zero does not hide others that are too large: `[usize::MAX, 0]` is rejected, whatever the order.
pub(crate) fn element_count<T>(what: &str, shape: &[usize]) -> Result<usize> {
    let addressable = shape.iter().filter(|&&size| size > 0).try_fold(1_usize, |n, &size| n.checked_mul(size));
    let bytes = addressable.and_then(|n| n.checked_mul(size_of::<T>()));
    match (addressable, bytes) {
        (Some(count), Some(bytes)) if isize::try_from(bytes).is_ok() => Ok(if shape.contains(&0) { 0 } else { count }),
        _ => Err(too_large::<T>(what, shape)),
    }
}

/// Returns an empty vector with room for exactly `shape`.
pub(crate) fn reserved<T>(what: &str, shape: &[usize]) -> Result<Vec<T>> {
    let count = element_count::<T>(what, shape)?;
    let mut data = Vec::new();
    data.try_reserve_exact(count).map_err(|_| too_large::<T>(what, shape))?;
    Ok(data)
}

/// Returns an array of `shape` filled with `value`.
pub(crate) fn filled<T: Copy>(what: &str, shape: &[usize], value: T) -> Result<Vec<T>> {
    let count = element_count::<T>(what, shape)?;
    let mut data = reserved(what, shape)?;
    data.resize(count, value);
    Ok(data)
}

/// Returns zeros of `shape`. Large arrays come from the system as zeros, page by page, on the thread that first uses a
/// page.
pub(crate) fn zeroed<T: bytemuck::Zeroable>(what: &str, shape: &[usize]) -> Result<Vec<T>> {
    let count = element_count::<T>(what, shape)?;
    bytemuck::allocation::try_zeroed_vec(count).map_err(|()| too_large::<T>(what, shape))
}

/// Copies the elements of a slice to a new vector.
pub(crate) fn copied<T: Copy>(what: &str, elements: &[T]) -> Result<Vec<T>> {
    let mut data = reserved(what, &[elements.len()])?;
    data.extend_from_slice(elements);
    Ok(data)
}

/// Collects the first `count` elements of an iterator, or fewer if it ends before.
pub(crate) fn collected<T>(what: &str, count: usize, elements: impl IntoIterator<Item = T>) -> Result<Vec<T>> {
    let mut data = reserved(what, &[count])?;
    data.extend(elements.into_iter().take(count));
    Ok(data)
}

fn too_large<T>(what: &str, shape: &[usize]) -> Error {
    Error::TooLarge { what: what.to_owned(), shape: shape.to_vec(), bytes_each: size_of::<T>() }
}
