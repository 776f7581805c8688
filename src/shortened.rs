//! Arrays in a line, whatever their size.

use std::fmt;

/// The number of elements that are shown of a longer array.
const SHOWN: usize = 8;

/// Writes an array's shape and elements, of a long array the first few.
pub(crate) fn write_array(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    shape: &[usize],
    elements: &[impl fmt::Debug],
) -> fmt::Result {
    write!(f, "{name} {shape:?} [")?;
    let (shown, hidden) = elements.split_at(elements.len().min(SHOWN));
    for (i, value) in shown.iter().enumerate() {
        let comma = if i > 0 { ", " } else { "" };
        write!(f, "{comma}{value:?}")?;
    }
    f.write_str(if hidden.is_empty() { "]" } else { ", …]" })
}
