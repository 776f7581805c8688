//! Numbers of things, in words.

use std::fmt;

/// So many of them, in words.
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
