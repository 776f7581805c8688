//! The workgroup of the kernels whose lanes lend each other what they load, shaders/octets.wgsl.

/// Rows of an octet, which as many lanes load for each other.
const ROWS: usize = 8;

/// Hidden units of an invocation.
const UNITS: usize = 2;

/// The most sums that an invocation may have: with more, kernels have no registers left on some GPU.
const MAX_SUMS: usize = 192;

/// The shader's override constants: a workgroup has twice `UNITS` hidden units of `OCTETS` times eight rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Octets {
    octets: u32,
    units: u32,
}

impl Octets {
    /// For so many rows, of a cell with so many gates. An invocation loads its weights for all of its octets, which takes about as
    /// long as the sums of two octets do; sums of octets without rows are for nothing.
    pub(crate) fn of_rows(rows: usize, gates: usize) -> Self {
        const LOADING: usize = 2;
        let time = |octets: usize| rows.div_ceil(octets * ROWS) * (LOADING + octets);
        let possible = [1, 2, 4].into_iter().filter(|octets| octets * ROWS * UNITS * gates <= MAX_SUMS);
        let octets = possible.min_by_key(|&octets| time(octets)).unwrap_or(1);
        // At most 512 sums, 8 KiB of workgroup memory.
        Self { octets: octets as u32, units: if octets > 2 { 8 } else { 16 } }
    }

    pub(crate) fn overrides(self) -> Vec<(&'static str, u32)> {
        vec![("OCTETS", self.octets), ("UNITS", self.units)]
    }

    /// Hidden units of a workgroup.
    pub(crate) const fn units(self) -> u32 {
        UNITS as u32 * self.units
    }

    /// Rows of a workgroup.
    pub(crate) const fn rows(self) -> u32 {
        ROWS as u32 * self.octets
    }

    pub(crate) const fn workgroup(self) -> [u32; 3] {
        [self.units, 1, 1]
    }

    /// Sums of all gates in workgroup memory.
    pub(crate) const fn sums(self) -> usize {
        (self.rows() * self.units()) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_as_many_as_there_are_rows_for_them() {
        for (rows, gates) in (1..=300).flat_map(|rows| [1, 3, 4].map(|gates| (rows, gates))) {
            let octets = Octets::of_rows(rows, gates);
            let computed = rows.next_multiple_of(octets.rows() as usize);
            assert!(computed < 2 * rows.max(8), "{computed} rows are computed for {rows}");
            let bytes = octets.sums() * 4 * size_of::<f32>();
            assert!(bytes <= 16_352, "{bytes} bytes of workgroup memory are more than every device has");
        }
        let rows_of = |gates| [1, 8, 9, 16, 17, 32, 64].map(|rows| Octets::of_rows(rows, gates).rows());
        assert_eq!(rows_of(1), [8, 8, 16, 16, 32, 32, 32]);
        assert_eq!(rows_of(4), [8, 8, 16, 16, 16, 16, 16]);
    }
}
