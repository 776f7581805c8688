//! The names of streams, and which rows of the states are theirs.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::memory::{collected, copied, reserved};

/// What an error calls memory that did not suffice.
const LIST: &str = "a list of streams";

/// The name of one stream of [`Streams`](crate::Streams). No two streams of a program ever have the same name, so that
/// a stream that was removed, or belongs to other streams, is detected.
///
/// `&slot` can be passed as a list of one wherever several slots are expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u64);

impl Slot {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl AsRef<[Self]> for Slot {
    fn as_ref(&self) -> &[Self] {
        std::slice::from_ref(self)
    }
}

/// Writes "slot 7".
impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}", self.0)
    }
}

/// The slots in use with their rows, and the rows that are free.
pub(super) struct Slots {
    /// In the order in which they were added, which is the order of their names.
    names: Vec<Slot>,
    /// The row of each slot in the session's states.
    rows: Vec<usize>,
    /// The next one to be used comes last.
    free: Vec<usize>,
}

impl Slots {
    /// Creates `count` slots in the first of `rows` rows.
    pub(super) fn new(rows: usize, count: usize) -> Result<Self> {
        let mut slots = Self { names: Vec::new(), rows: Vec::new(), free: Vec::new() };
        slots.reserve(rows)?;
        slots.free_rows(0..rows);
        for row in 0..count {
            slots.occupy(row);
        }
        Ok(slots)
    }

    pub(super) fn names(&self) -> &[Slot] {
        &self.names
    }

    /// Reserves room in the lists for every row, so that no later call needs more.
    pub(super) fn reserve(&mut self, rows: usize) -> Result<()> {
        reserve(&mut self.names, rows)?;
        reserve(&mut self.rows, rows)?;
        reserve(&mut self.free, rows)
    }

    /// Adds rows that are free, for which there is room.
    pub(super) fn free_rows(&mut self, rows: Range<usize>) {
        self.free.extend(rows.rev());
    }

    /// Returns the row of the next slot, if one is free.
    pub(super) fn next_row(&self) -> Option<usize> {
        self.free.last().copied()
    }

    /// Adds a slot in [`next_row`](Self::next_row).
    pub(super) fn occupy(&mut self, row: usize) -> Slot {
        let next = self.free.pop();
        debug_assert_eq!(next, Some(row));
        let slot = Slot::next();
        self.names.push(slot);
        self.rows.push(row);
        slot
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Result<()> {
        let at = self.position(slot)?;
        self.names.remove(at);
        self.free.push(self.rows.remove(at));
        Ok(())
    }

    fn position(&self, slot: Slot) -> Result<usize> {
        let missing = |_| slot_error("a slot of these streams that was not removed", slot.to_string());
        self.names.binary_search(&slot).map_err(missing)
    }

    /// Returns the rows of all slots.
    pub(super) fn all_rows(&self) -> Result<Vec<usize>> {
        copied(LIST, &self.rows)
    }

    /// Returns the rows of some slots, each of which must appear once.
    pub(super) fn rows_of(&self, slots: &[Slot]) -> Result<Vec<usize>> {
        let mut rows = reserved(LIST, &[slots.len()])?;
        for &slot in slots {
            rows.push(self.rows[self.position(slot)?]);
        }
        let mut sorted = copied(LIST, slots)?;
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(twice) => Err(slot_error("each slot once", format!("{} twice", twice[0]))),
            None => Ok(rows),
        }
    }

    /// Returns the rows of some slots as ranges of consecutive ones, in the order of the slots.
    pub(super) fn ranges_of(&self, slots: &[Slot]) -> Result<Vec<Range<usize>>> {
        let rows = self.rows_of(slots)?;
        let runs = || rows.chunk_by(|a, b| a + 1 == *b);
        collected(LIST, runs().count(), runs().map(|run| run[0]..run[0] + run.len()))
    }
}

/// Makes room in a list for `count` elements, including the existing ones.
fn reserve<T>(list: &mut Vec<T>, count: usize) -> Result<()> {
    list.try_reserve_exact(count.saturating_sub(list.len())).map_err(|_| Error::TooLarge {
        what: LIST.to_owned(),
        shape: vec![count],
        bytes_each: size_of::<T>(),
    })
}

fn slot_error(expected: &'static str, got: String) -> Error {
    Error::Config { argument: "slot", expected, got }
}
