//! Counts of things and bytes, in words.

use std::fmt;

/// A count of something, in words.
pub(super) struct Count(pub(super) usize, pub(super) &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, what) = *self;
        let plural = if count == 1 {
            ""
        } else if what.ends_with("ch") {
            "es"
        } else {
            "s"
        };
        write!(f, "{count} {what}{plural}")
    }
}

/// Bytes of memory, in words.
pub(super) struct Bytes(pub(super) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const KIB: f64 = 1024.0;
        let kib = self.0 as f64 / KIB;
        if kib < KIB { write!(f, "{kib:.2} KiB") } else { write!(f, "{:.2} MiB", kib / KIB) }
    }
}
