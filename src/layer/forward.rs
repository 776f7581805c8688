//! A forward between arrays on the host.

use crate::as_view::AsView;
use crate::blocking::Wait;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::layer::kind::Kind;
use crate::layer::placed::Placed;
use crate::layer::train::Pass;
use crate::model;
use crate::options::Options;
use crate::real::Real;
use crate::request::{FromState, Request, Rows, check_output, sealed};
use crate::tensor::{Tensor, TensorView};

/// The results of a forward that returns the states after every step: [`Request::all_states`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AllStates<K: Kind, F: Real = f32> {
    /// The output, as from any forward: `[T, B, D·P]`, or `[B, T, D·P]` with batch_first.
    pub output: Tensor<F>,
    /// The last state, as from any forward: h `[L·D, B, P]`, c `[L·D, B, H]`.
    pub last: K::State<F>,
    /// The state after every step: h `[L·D, T, B, P]`, c `[L·D, T, B, H]`; without B if unbatched, and the same with
    /// batch_first. Index t holds the state of a direction after it has read time t, or the padding value past a row's
    /// end.
    pub all: K::State<F>,
}

/// The question of [`Placed::request`].
pub struct Forward<'a, K: Kind, F: Real> {
    placed: &'a Placed<K, F>,
    input: Result<TensorView<'a, F>>,
    state: Option<&'a K::State<F>>,
    options: Options<'a>,
    /// The memory for the output, unless it goes to a new array.
    output: &'a mut [F],
}

/// The results that a forward returns in addition to the last state.
#[derive(Clone, Copy)]
struct Wanted {
    output: bool,
    all_states: bool,
}

impl<K: Kind, F: Real> Placed<K, F> {
    /// Runs the layer and returns output and last state, like `module(input, state)` in PyTorch. The state of an LSTM
    /// is [`LstmState`](crate::LstmState), `(h, c)`; that of a GRU or RNN is h, a [`Tensor`].
    ///
    /// | | batched | batch_first | unbatched |
    /// |---|---|---|---|
    /// | input | `[T, B, I]` | `[B, T, I]` | `[T, I]` |
    /// | output | `[T, B, D·P]` | `[B, T, D·P]` | `[T, D·P]` |
    /// | h | `[L·D, B, P]` | `[L·D, B, P]` | `[L·D, P]` |
    /// | c of an LSTM | `[L·D, B, H]` | `[L·D, B, H]` | `[L·D, H]` |
    ///
    /// P is H, except for an LSTM with `proj_size`.
    ///
    /// The state is `None` for zeros, `&state` or `Some(&state)`. B = 0 gives empty results; T = 0 returns the state
    /// unchanged, where PyTorch raises an error. [`request`](Self::request) has more options, and does not have to
    /// block.
    ///
    /// # Errors
    /// [`Error::Shape`] for an input or state of the wrong shape, [`Error::Limit`] for a shape that the device cannot
    /// hold, both before any work; [`Error::OutOfMemory`], [`Error::DeviceLost`]. [`Error::Unsupported`] for an input
    /// that does not provide a [view](AsView).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn forward<'s>(
        &self,
        input: &impl AsView<F>,
        state: impl Into<Option<&'s K::State<F>>>,
    ) -> Result<(Tensor<F>, K::State<F>)> {
        let forward = Forward { state: state.into(), ..Forward::new(self, input) };
        pollster::block_on(forward.output_and_state(Wait::Blocking))
    }

    /// Requests a forward of `input` with options that [`forward`](Self::forward) does not have: lengths of the rows,
    /// the states after every step, only the last state, an output in the caller's memory, or no blocking. See
    /// [`Request`].
    ///
    /// ```
    /// use wgpu_rnn::{Device, Lstm, LstmConfig, Tensor};
    ///
    /// let lstm = Lstm::random(LstmConfig::new(3, 4).with_num_layers(2), 0)?.to(&Device::cpu())?;
    /// let x = Tensor::zeros([7, 2, 3])?; // [T, B, I]
    ///
    /// let (output, state) = lstm.request(&x).lengths(&[7, 5]).padding_value(-1.0).run()?;
    /// assert_eq!(output.get(&[6, 1, 0]), Some(-1.0));
    ///
    /// let all = lstm.request(&x).state(&state).all_states().run()?;
    /// assert_eq!(all.all.c.shape(), [2, 7, 2, 4]); // [L·D, T, B, H]
    ///
    /// let mut output = [0.0; 7 * 2 * 4];
    /// let state = lstm.request(&x).output_into(&mut output).run()?;
    /// assert_eq!(state.h.row(&[1, 0]), output.chunks(4).nth(12)); // the last layer's h is the output's last step
    /// # Ok::<(), wgpu_rnn::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`forward`](Self::forward), when the request runs.
    #[expect(clippy::type_complexity, reason = "the result is PyTorch's pair, and what can be asked shows in the type")]
    pub fn request<'a>(
        &'a self,
        input: &'a impl AsView<F>,
    ) -> Request<'a, (Tensor<F>, K::State<F>), Forward<'a, K, F>> {
        Request::new(Forward::new(self, input), |forward, wait| Box::pin(forward.output_and_state(wait)))
    }
}

impl<'a, K: Kind, F: Real> Request<'a, (Tensor<F>, K::State<F>), Forward<'a, K, F>> {
    /// Returns the states after every step as well: h of all layers and c, for inspecting a model or continuing from
    /// the middle of a sequence. On a GPU the kernels are the same, and there is one readback.
    pub fn all_states(self) -> Request<'a, AllStates<K, F>, Forward<'a, K, F>> {
        Request::new(self.question, |forward, wait| Box::pin(forward.every_state(wait)))
    }

    /// Returns only the last state. A GPU then does not read the output back, which for a long sequence is most of the
    /// data that a forward transfers.
    pub fn last_state(self) -> Request<'a, K::State<F>, Forward<'a, K, F>> {
        Request::new(self.question, |forward, wait| Box::pin(forward.last_state(wait)))
    }

    /// Writes the output to the caller's memory, last dimension fastest, and returns only the last state.
    ///
    /// The request fails with [`Error::Length`], before any computation, unless `output` has exactly the size of the
    /// output. After any error `output` is unchanged.
    pub fn output_into(self, output: &'a mut [F]) -> Request<'a, K::State<F>, Forward<'a, K, F>> {
        let question = Forward { output, ..self.question };
        Request::new(question, |forward, wait| Box::pin(forward.into_slice(wait)))
    }
}

impl<'a, K: Kind, F: Real> Forward<'a, K, F> {
    fn new(placed: &'a Placed<K, F>, input: &'a impl AsView<F>) -> Self {
        Self { placed, input: input.try_as_view(), state: None, options: Options::new(), output: &mut [] }
    }

    async fn compute(self, wanted: Wanted, wait: Wait) -> Result<model::Forward<F>> {
        let (placed, input, initial) = (self.placed, self.input?, self.state.map(K::arrays));
        let training = placed.training();
        let asked = model::Asked {
            options: self.options,
            training: training.as_deref(),
            output: wanted.output,
            all_states: wanted.all_states,
        };
        placed.model().forward(&input, initial.as_deref(), asked, wait).await
    }

    pub(super) async fn train(self, wait: Wait) -> Result<Pass<'a, K, F>> {
        Pass::run(self.placed, &self.input?, self.state, self.options, wait).await
    }

    async fn output_and_state(self, wait: Wait) -> Result<(Tensor<F>, K::State<F>)> {
        let forward = self.compute(Wanted { output: true, all_states: false }, wait).await?;
        Ok((forward.output, K::state(forward.states)?))
    }

    async fn every_state(self, wait: Wait) -> Result<AllStates<K, F>> {
        let forward = self.compute(Wanted { output: true, all_states: true }, wait).await?;
        Ok(AllStates { output: forward.output, last: K::state(forward.states)?, all: K::state(forward.all)? })
    }

    async fn last_state(self, wait: Wait) -> Result<K::State<F>> {
        let forward = self.compute(Wanted { output: false, all_states: false }, wait).await?;
        K::state(forward.states)
    }

    async fn into_slice(mut self, wait: Wait) -> Result<K::State<F>> {
        let target = std::mem::take(&mut self.output);
        if let Ok(input) = &self.input {
            check_output(self.placed.output_shape(input.shape())?, target)?;
        }
        let (output, state) = self.output_and_state(wait).await?;
        target.copy_from_slice(output.data());
        Ok(state)
    }
}

impl<K: Kind, F: Real> sealed::Sealed for Forward<'_, K, F> {}

impl<'a, K: Kind, F: Real> Rows<'a> for Forward<'a, K, F> {
    fn set_lengths(&mut self, lengths: &'a [usize]) {
        self.options.lengths = Some(lengths);
    }

    fn set_padding_value(&mut self, padding_value: f64) {
        self.options.padding_value = padding_value;
    }
}

impl<'a, K: Kind, F: Real> FromState<'a> for Forward<'a, K, F> {
    type State = K::State<F>;

    fn set_state(&mut self, state: Option<&'a K::State<F>>) {
        self.state = state;
    }
}
