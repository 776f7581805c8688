//! A push of a chunk through streams.

use crate::as_view::AsView;
use crate::blocking::Wait;
use crate::call::Call;
use crate::error::{Error, Result};
use crate::extents::Extents;
use crate::layer::kind::Kind;
use crate::layer::slots::Slot;
use crate::layer::streams::Streams;
use crate::options::Options;
use crate::real::Real;
use crate::request::{Request, Rows, check_output, sealed};
use crate::session::Input;
use crate::tensor::{Tensor, TensorView};

/// The question of [`Streams::request`].
pub struct Push<'a, K: Kind, F: Real> {
    streams: &'a mut Streams<K, F>,
    chunk: Result<TensorView<'a, F>>,
    /// All slots if `None`.
    slots: Option<&'a [Slot]>,
    options: Options<'a>,
    /// The memory for the output, unless it goes to a new array.
    output: &'a mut [F],
}

impl<K: Kind, F: Real> Streams<K, F> {
    /// Runs a chunk of T steps of all streams, in the order of [`slots`](Self::slots), and returns their output: input
    /// `[T, B, I]` to output `[T, B, P]`, or `[B, T, ·]` with batch_first, where B is the number of slots.
    /// [`request`](Self::request) can push some of the slots, and does not have to block.
    ///
    /// # Errors
    /// [`Error::Shape`] for a chunk of the wrong shape, [`Error::Limit`] for one that the device cannot hold, both
    /// before any work; [`Error::OutOfMemory`], [`Error::DeviceLost`]. [`Error::Unsupported`] for an input that does
    /// not provide a [view](AsView).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn push(&mut self, chunk: &impl AsView<F>) -> Result<Tensor<F>> {
        pollster::block_on(Push::new(self, chunk).output(Wait::Blocking))
    }

    /// Requests a push of `chunk` with options that [`push`](Self::push) does not have: some of the slots, lengths of
    /// the rows, an output in the caller's memory, or no blocking. See [`Request`].
    ///
    /// ```
    /// use wgpu_rnn::{Device, Gru, GruConfig, Tensor};
    ///
    /// let gru = Gru::random(GruConfig::new(2, 3), 0)?.to(&Device::cpu())?;
    /// let mut streams = gru.streams(3).run()?;
    /// let [a, _, c] = streams.slots() else { unreachable!() };
    /// let (a, c) = (*a, *c);
    /// let chunk = Tensor::zeros([5, 2, 2])?; // [T, B, I]
    /// let output = streams.request(&chunk).slots(&[a, c]).lengths(&[5, 2]).run()?; // five steps of a, two of c
    /// assert_eq!(output.shape(), [5, 2, 3]);
    /// # Ok::<(), wgpu_rnn::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`push`](Self::push), when the request runs.
    pub fn request<'a>(&'a mut self, chunk: &'a impl AsView<F>) -> Request<'a, Tensor<F>, Push<'a, K, F>> {
        Request::new(Push::new(self, chunk), |push, wait| Box::pin(push.output(wait)))
    }
}

impl<'a, T, K: Kind, F: Real> Request<'a, T, Push<'a, K, F>> {
    /// Pushes some of the streams: row b of the chunk belongs to the stream `slots[b]`. A single slot accepts an
    /// unbatched chunk `[T, I]`.
    ///
    /// The request fails with [`Error::Config`] for a slot that does not exist or appears twice.
    pub fn slots(mut self, slots: &'a (impl AsRef<[Slot]> + ?Sized)) -> Self {
        self.question.slots = Some(slots.as_ref());
        self
    }
}

impl<'a, K: Kind, F: Real> Request<'a, Tensor<F>, Push<'a, K, F>> {
    /// Writes the output to the caller's memory, last dimension fastest.
    ///
    /// The request fails with [`Error::Length`], before any stream has advanced, unless `output` has exactly the size
    /// of the output.
    pub fn output_into(self, output: &'a mut [F]) -> Request<'a, (), Push<'a, K, F>> {
        let question = Push { output, ..self.question };
        Request::new(question, |push, wait| Box::pin(push.into_slice(wait)))
    }
}

impl<'a, K: Kind, F: Real> Push<'a, K, F> {
    fn new(streams: &'a mut Streams<K, F>, chunk: &'a impl AsView<F>) -> Self {
        Self { streams, chunk: chunk.try_as_view(), slots: None, options: Options::new(), output: &mut [] }
    }

    async fn output(self, wait: Wait) -> Result<Tensor<F>> {
        let (streams, chunk) = (self.streams, self.chunk?);
        let config = &streams.layer.config().0;
        let extents = Extents::of_input(config, chunk.shape())?;
        let count = self.slots.unwrap_or(streams.slots()).len();
        if extents.batch != count {
            let shape = if config.batch_first { format!("[{count}, T, I]") } else { format!("[T, {count}, I]") };
            let expected = format!("{shape}, a row for each slot{}", extents.layout_hint(count));
            return Err(Error::Shape { what: "input".to_owned(), expected, got: chunk.shape().to_vec() });
        }
        let output_shape = extents.shape(config.output_size());
        let call = Call::new(extents, &self.options)?;
        let rows = match self.slots {
            Some(slots) => streams.slots.rows_of(slots)?,
            None => streams.slots.all_rows()?,
        };
        let call = call.with_state_rows(rows);
        let output = streams.session.push(call, Input::Host(chunk.data()), wait).await?;
        Tensor::new(output_shape, output)
    }

    async fn into_slice(mut self, wait: Wait) -> Result<()> {
        let target = std::mem::take(&mut self.output);
        if let Ok(chunk) = &self.chunk {
            check_output(self.streams.layer.output_shape(chunk.shape())?, target)?;
        }
        target.copy_from_slice(self.output(wait).await?.data());
        Ok(())
    }
}

impl<K: Kind, F: Real> sealed::Sealed for Push<'_, K, F> {}

impl<'a, K: Kind, F: Real> Rows<'a> for Push<'a, K, F> {
    fn set_lengths(&mut self, lengths: &'a [usize]) {
        self.options.lengths = Some(lengths);
    }

    fn set_padding_value(&mut self, padding_value: f64) {
        self.options.padding_value = padding_value;
    }
}
