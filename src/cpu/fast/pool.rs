//! Large arrays that training passes hand on to each other.
//!
//! An allocator may give the arrays of a pass back to the system and ask it for those of the next. Each page of four
//! kilobytes is then an interrupt and is cleared once more, which takes up to a tenth of a pass.

use parking_lot::Mutex;

use crate::error::Result;
use crate::memory::{element_count, zeroed};

/// The arrays that no pass uses at the moment: at most as many as were ever in use at a time.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Vec<Vec<f32>>>);

impl Pool {
    /// Returns an array of `shape`, whose elements are zeros or those of an earlier pass.
    pub(super) fn take(&self, what: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let count = element_count::<f32>(what, shape)?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut idle = self.0.lock();
        // The smallest that is large enough, or else the largest, whose place the new one takes.
        let fit = |array: &Vec<f32>| match array.capacity().checked_sub(count) {
            Some(more) => (false, more),
            None => (true, count - array.capacity()),
        };
        let nearest = idle.iter().enumerate().min_by_key(|(_, array)| fit(array)).map(|(place, _)| place);
        let nearest = nearest.map(|place| idle.swap_remove(place));
        drop(idle);
        if let Some(mut array) = nearest.filter(|array| array.capacity() >= count) {
            array.resize(count, 0.0);
            return Ok(array);
        }
        zeroed(what, shape).or_else(|_| {
            self.0.lock().clear();
            zeroed(what, shape)
        })
    }

    /// Returns a copy of some elements.
    pub(super) fn copy(&self, what: &str, elements: &[f32]) -> Result<Vec<f32>> {
        let mut array = self.take(what, &[elements.len()])?;
        array.copy_from_slice(elements);
        Ok(array)
    }

    /// Takes back arrays that are no longer in use.
    pub(super) fn give(&self, arrays: impl IntoIterator<Item = Vec<f32>>) {
        self.0.lock().extend(arrays.into_iter().filter(|array| !array.is_empty()));
    }

    /// Takes over what another pool has.
    pub(super) fn succeed(&self, other: &Self) {
        let idle = std::mem::take(&mut *other.0.lock());
        self.give(idle);
    }
}
