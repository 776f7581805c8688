//! The options of a call: lengths and padding of the rows of its batch.

/// The options of a forward, a recording or a push.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Options<'a> {
    /// `[B]`; T for every row if `None`
    pub(crate) lengths: Option<&'a [usize]>,
    pub(crate) padding_value: f64,
}

impl Options<'_> {
    /// The whole sequence for every row.
    pub(crate) fn new() -> Self {
        Self::default()
    }
}
