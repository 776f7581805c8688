//! Training: a forward that is followed by its backward.

use std::fmt;

#[cfg(not(target_arch = "wasm32"))]
use crate::as_view::AsView;
use crate::blocking::Wait;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::layer::Layer;
use crate::layer::forward::Forward;
use crate::layer::gradients::{Gradients, WeightGradients};
use crate::layer::kind::Kind;
use crate::layer::placed::Placed;
use crate::model::Asked;
use crate::options::Options;
use crate::pass::{self, Taped};
use crate::real::Real;
use crate::request::Request;
use crate::tensor::{Tensor, TensorView};

/// A forward that keeps what its backward needs: the result of [`Placed::forward_train`]. It borrows the layer, whose
/// weights therefore stay as they are, and [`backward`](Self::backward) consumes it. Any number of passes of a layer
/// may exist at a time, on any threads.
///
/// It keeps, for each unit, batch row, time step, direction and layer, what the cell computed: the four gates and c of
/// an LSTM; r, z, n and the recurrent part of n of a GRU; h of an RNN; in addition to the input and the output of every
/// layer. Dropping a pass frees them; after a backward, the next pass of the layer takes them over.
pub struct Pass<'a, K: Kind, F: Real = f32> {
    placed: &'a Placed<K, F>,
    taped: Taped<F>,
    state: K::State<F>,
}

impl<K: Kind, F: Real> Placed<K, F> {
    /// Runs a forward like [`forward`](Self::forward), and keeps what its backward needs. Options such as lengths are
    /// set on a [request](Self::request): `request(&x).lengths(&lengths).train().run()`.
    ///
    /// Whether dropout acts depends on the [mode](Self::set_mode), as in PyTorch; the backward uses the masks of its
    /// forward. The output and the state are those of [`forward`](Self::forward), up to rounding.
    ///
    /// ```
    /// use wgpu_rnn::{Device, Lstm, LstmConfig, Tensor};
    ///
    /// let lstm = Lstm::random(LstmConfig::new(3, 4), 0)?.to(&Device::cpu())?;
    /// let x = Tensor::zeros([7, 2, 3])?; // [T, B, I]
    /// let target: Tensor = Tensor::zeros([7, 2, 4])?;
    ///
    /// let pass = lstm.forward_train(&x, None)?;
    /// // The loss is the program's own. This one is Σ (output - target)²/2, whose gradient is output - target.
    /// let differences = pass.output().data().iter().zip(target.data()).map(|(y, target)| y - target);
    /// let gradient = Tensor::new([7, 2, 4], differences.collect::<Vec<_>>())?;
    ///
    /// let gradients = pass.backward(&gradient, None)?;
    /// assert_eq!(gradients.input().shape(), [7, 2, 3]);
    /// assert_eq!(gradients.initial_state().c.shape(), [1, 2, 4]);
    /// for (name, gradient) in gradients.weights().named()? {
    ///     println!("{name}: {:?}", gradient.shape()); // weight_ih_l0: [16, 3] and so on
    /// }
    /// # Ok::<(), wgpu_rnn::Error>(())
    /// ```
    ///
    /// # Truncated backpropagation through time
    /// A long sequence is trained in pieces: each starts from the last state of the one before, and no gradient flows
    /// from piece to piece, because a state is a value. To let it flow, pass the gradient on by hand:
    ///
    /// ```
    /// # use wgpu_rnn::{Device, Gru, GruConfig, Tensor};
    /// # let gru = Gru::random(GruConfig::new(3, 4), 0)?.to(&Device::cpu())?;
    /// # let (first, second) = (Tensor::zeros([5, 2, 3])?, Tensor::zeros([5, 2, 3])?);
    /// # let gradient = Tensor::zeros([5, 2, 4])?;
    /// let one = gru.forward_train(&first, None)?;
    /// let two = gru.forward_train(&second, one.state())?;
    ///
    /// let of_two = two.backward(&gradient, None)?;
    /// let of_one = one.backward(&gradient, of_two.initial_state())?; // None instead would cut it here
    /// # assert_eq!(of_one.input().shape(), [5, 2, 3]);
    /// # Ok::<(), wgpu_rnn::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`forward`](Self::forward). [`Error::Unsupported`] for weights in
    /// [`Precision::F16`](crate::Precision::F16).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn forward_train<'s>(
        &self,
        input: &impl AsView<F>,
        state: impl Into<Option<&'s K::State<F>>>,
    ) -> Result<Pass<'_, K, F>> {
        pollster::block_on(Pass::run(self, &input.try_as_view()?, state.into(), Options::new(), Wait::Blocking))
    }
}

impl<'a, K: Kind, F: Real> Request<'a, (Tensor<F>, K::State<F>), Forward<'a, K, F>> {
    /// Keeps what the backward needs: [`Placed::forward_train`] with the options of a request.
    pub fn train(self) -> Request<'a, Pass<'a, K, F>, Forward<'a, K, F>> {
        Request::new(self.question, |forward, wait| Box::pin(forward.train(wait)))
    }
}

impl<'a, K: Kind, F: Real> Pass<'a, K, F> {
    /// Runs the forward.
    pub(super) async fn run(
        placed: &'a Placed<K, F>,
        input: &TensorView<'_, F>,
        state: Option<&K::State<F>>,
        options: Options<'_>,
        wait: Wait,
    ) -> Result<Self> {
        let (initial, training) = (state.map(K::arrays), placed.training());
        let asked = Asked { options, training: training.as_deref(), output: true, all_states: false };
        let taped = placed.model().forward_train(input, initial.as_deref(), asked, wait).await?;
        let copies = taped.states.iter().map(|state| state.as_view().to_tensor());
        let state = K::state(copies.collect::<Result<_>>()?)?;
        Ok(Self { placed, taped, state })
    }

    /// Returns the output, as [`forward`](Placed::forward) does: `[T, B, D·P]`, or `[B, T, D·P]` with batch_first.
    pub fn output(&self) -> &Tensor<F> {
        &self.taped.output
    }

    /// Returns the last state, as [`forward`](Placed::forward) does.
    pub fn state(&self) -> &K::State<F> {
        &self.state
    }

    /// Runs the backward: given the gradients of a loss with respect to the output and the last state, returns those
    /// with respect to the input, the initial state and the weights, like `torch.autograd.grad`. They have the shapes
    /// of what they belong to. A gradient that is `None` is zero.
    ///
    /// Positions past the end of a row do not exist: what is given there is not read, and the gradient of the input
    /// there is 0. [`request_backward`](Self::request_backward) does not have to block.
    ///
    /// # Errors
    /// [`Error::Shape`] unless the shapes are those of output and state; [`Error::TooLarge`] if memory runs out; on a
    /// GPU [`Error::OutOfMemory`] and [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn backward<'g>(
        self,
        output: impl Into<Option<&'g Tensor<F>>>,
        state: impl Into<Option<&'g K::State<F>>>,
    ) -> Result<Gradients<K, F>> {
        pollster::block_on(self.into_gradients(output.into(), state.into(), Wait::Blocking))
    }

    /// Requests the [backward](Self::backward). See [`Request`].
    ///
    /// # Errors
    /// The errors of [`backward`](Self::backward), when the request runs.
    pub fn request_backward<'g>(
        self,
        output: impl Into<Option<&'g Tensor<F>>>,
        state: impl Into<Option<&'g K::State<F>>>,
    ) -> Request<'g, Gradients<K, F>>
    where
        'a: 'g,
    {
        let (output, state) = (output.into(), state.into());
        Request::plain(move |wait| self.into_gradients(output, state, wait))
    }

    async fn into_gradients(
        self,
        output: Option<&Tensor<F>>,
        state: Option<&K::State<F>>,
        wait: Wait,
    ) -> Result<Gradients<K, F>> {
        let states = state.map(K::arrays);
        let model = self.placed.model();
        // Those on a GPU are read there.
        let weights = self.placed.on_host().map_or(&[][..], Layer::layers);
        let pass::Gradients { input, states, weights } =
            model.backward(weights, self.taped, output, states.as_deref(), wait).await?;
        let weights = WeightGradients::new(&self.placed.config().0, weights);
        Ok(Gradients { input, initial_state: K::state(states)?, weights })
    }
}

/// Writes the layer and the shape of the output; numbers are not printed.
impl<K: Kind, F: Real> fmt::Debug for Pass<'_, K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pass({}, output {:?})", self.placed, self.output().shape())
    }
}
