//! What a forward may be asked besides input and state.

/// Whether a model is in use or being trained: `eval()` and `train()` of a module in PyTorch, set by
/// [`Placed::set_mode`](crate::Placed::set_mode).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Dropout does nothing.
    #[default]
    Evaluation,
    /// Dropout acts. Every call has masks of its own, and so has every layer; the same seed gives the same sequence of them, on
    /// the CPU and on a GPU. The numbers are not those that PyTorch draws. Calls of several threads draw in the order in which
    /// they come.
    Training {
        /// What the masks of all calls follow from.
        seed: u64,
    },
}

/// Options of a forward, a recording or a push: [`Placed::forward_with`](crate::Placed::forward_with),
/// [`Placed::forward_all_states`](crate::Placed::forward_all_states), [`Placed::encode_with`](crate::Placed::encode_with),
/// [`Streams::push_to`](crate::Streams::push_to).
///
/// ```
/// use wgpu_rnn::{Device, Gru, GruConfig, Options, Tensor};
///
/// let gru = Gru::random(GruConfig::new(2, 3), 0)?.to(&Device::cpu())?;
/// let x = Tensor::zeros([5, 2, 2])?; // two rows of at most five steps
/// let (output, h) = gru.forward_with(&x, None, &Options::new().lengths(&[3, 5]))?;
/// assert_eq!(output.get(&[3, 0, 0]), Some(0.0)); // padding behind the end of row 0
/// assert_eq!(h.get(&[0, 0, 0]), output.get(&[2, 0, 0])); // h at the row's own end
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options<'a> {
    pub(crate) lengths: Option<&'a [usize]>,
    pub(crate) padding_value: f64,
}

impl<'a> Options<'a> {
    /// The whole sequence for every row.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many time steps each batch row has, `[B]` in any order: what `pack_padded_sequence` with `enforce_sorted=False` and
    /// `pad_packed_sequence` with `total_length=T` do in PyTorch. The reverse direction starts at each row's own last element,
    /// states are those at each row's own end. A length of 0 passes the row's state through, where PyTorch raises an error.
    #[must_use]
    pub fn lengths(mut self, lengths: &'a [usize]) -> Self {
        self.lengths = Some(lengths);
        self
    }

    /// What the output, and the states after every step, hold behind a row's end; 0 if not set.
    #[must_use]
    pub fn padding_value(mut self, padding_value: f64) -> Self {
        self.padding_value = padding_value;
        self
    }
}
