//! Calls that are described first and then run, blocking or not: [`Request`], and the questions that define the options
//! of each.

use std::fmt;
use std::pin::Pin;

use crate::blocking::Wait;
use crate::error::{Error, Result};
use crate::memory::element_count;
use crate::real::Real;

/// Checks that a caller's memory has the size of an output of this shape.
pub(crate) fn check_output<F: Real>(shape: Vec<usize>, memory: &[F]) -> Result<()> {
    let expected = element_count::<F>("output", &shape)?;
    if expected != memory.len() {
        return Err(Error::Length { what: "output".to_owned(), shape, expected, got: memory.len() });
    }
    Ok(())
}

/// A running call. In a browser, no wgpu object leaves the thread that created it.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) type Running<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;
#[cfg(target_arch = "wasm32")]
pub(crate) type Running<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// Anything that a request may hold until it runs.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) trait MaybeSend: Send {}
#[cfg(not(target_arch = "wasm32"))]
impl<T: Send> MaybeSend for T {}
#[cfg(target_arch = "wasm32")]
pub(crate) trait MaybeSend {}
#[cfg(target_arch = "wasm32")]
impl<T> MaybeSend for T {}

/// A call that does nothing until it is completed in one of two ways: [`run`](Self::run) blocks the calling thread
/// until the result is available, `.await` does not. `T` is the result; `Q`, the question, defines the options:
///
/// | created by | options |
/// |---|---|
/// | [`Placed::request`] | `state`, `lengths`, `padding_value`, `all_states`, `last_state`, `output_into`, `train` |
/// | [`Streams::request`] | `slots`, `lengths`, `padding_value`, `output_into` |
/// | [`Placed::request_encode`], [`Placed::request_encode_train`] | `lengths`, `padding_value` |
/// | [`PlacedCell::request`] | `state` |
/// | [`Layer::place`], [`Cell::place`] | `precision` |
/// | [`Placed::streams`] | `capacity` |
/// | all other requests | none |
///
/// [`Placed::request`]: crate::Placed::request
/// [`Streams::request`]: crate::Streams::request
/// [`Placed::request_encode`]: crate::Placed::request_encode
/// [`Placed::request_encode_train`]: crate::Placed::request_encode_train
/// [`PlacedCell::request`]: crate::PlacedCell::request
/// [`Layer::place`]: crate::Layer::place
/// [`Cell::place`]: crate::Cell::place
/// [`Placed::streams`]: crate::Placed::streams
///
/// ```
/// use wgpu_rnn::{Device, Gru, GruConfig, Tensor};
///
/// let gru = Gru::random(GruConfig::new(2, 3), 0)?.to(&Device::cpu())?;
/// let x = Tensor::zeros([5, 2, 2])?; // two rows of at most five steps
///
/// let (output, h) = gru.request(&x).lengths(&[3, 5]).run()?;
/// assert_eq!(output.get(&[3, 0, 0]), Some(0.0)); // padding past the end of row 0
/// assert_eq!(h.get(&[0, 0, 0]), output.get(&[2, 0, 0])); // h at the row's own end
///
/// # pollster::block_on(async {
/// let only_h = gru.request(&x).lengths(&[3, 5]).last_state().await?; // the output is not read back
/// assert_eq!(only_h, h);
/// # Ok::<(), wgpu_rnn::Error>(())
/// # })?;
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
///
/// # On a server
/// The future of an awaited request is `Send`, except in browsers, and runs on any executor. It leaves the thread free
/// while a GPU computes. All other work is done within a poll, and holds up the executor's thread for that time:
///
/// - On a GPU, the first call of a shape compiles kernels and creates buffers, and each call uploads its input and
///   submits its commands. Warm up before serving: by [`Placed::warm_up`](crate::Placed::warm_up), or
///   [streams](crate::Streams) by a push of zeros and a [`reset`](crate::Streams::reset).
/// - On the CPU, the whole computation happens within one poll. A request returns once before it, so that it can be
///   dropped until then; after that it cannot be cancelled, and a timeout does not fire. Run forwards with
///   `spawn_blocking` or its like, on a clone of the layer. Give streams a thread of their own behind a channel:
///
/// ```
/// use std::{sync::mpsc, thread};
/// use wgpu_rnn::{Device, Gru, GruConfig, Result, Tensor};
///
/// let mut streams = Gru::random(GruConfig::new(2, 3), 0)?.to(&Device::cpu())?.streams(2).run()?;
///
/// let (pushes, queue) = mpsc::channel::<(Tensor, mpsc::Sender<Result<Tensor>>)>();
/// let worker = thread::spawn(move || {
///     for (chunk, reply) in queue {
///         let _ = reply.send(streams.push(&chunk)); // an error if nobody waits any longer; the streams have moved on
///     }
/// });
///
/// let (reply, output) = mpsc::channel(); // in async code a oneshot channel, whose receiver is awaited
/// pushes.send((Tensor::zeros([5, 2, 2])?, reply)).unwrap();
/// assert_eq!(output.recv().unwrap()?.shape(), [5, 2, 3]);
///
/// drop(pushes); // ends the thread
/// worker.join().unwrap();
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
///
/// [Streams](crate::Streams#saving-and-resuming) can be saved and resumed in another process.
#[must_use = "a request does nothing until it is run or awaited"]
pub struct Request<'a, T, Q = Plain<'a, T>> {
    pub(crate) question: Q,
    start: fn(Q, Wait) -> Running<'a, T>,
}

impl<'a, T, Q> Request<'a, T, Q> {
    pub(crate) fn new(question: Q, start: fn(Q, Wait) -> Running<'a, T>) -> Self {
        Self { question, start }
    }

    /// Runs the call and blocks the calling thread until the result is available.
    ///
    /// # Errors
    /// The errors of the method that created the request.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run(self) -> Result<T> {
        pollster::block_on((self.start)(self.question, Wait::Blocking))
    }
}

/// Runs the call without blocking the calling thread.
impl<'a, T, Q> IntoFuture for Request<'a, T, Q> {
    type Output = Result<T>;
    type IntoFuture = Running<'a, T>;

    fn into_future(self) -> Self::IntoFuture {
        (self.start)(self.question, Wait::Async)
    }
}

impl<T, Q> fmt::Debug for Request<'_, T, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").finish_non_exhaustive()
    }
}

/// The question of a [`Request`] without options.
pub struct Plain<'a, T>(Box<dyn Start<'a, T> + 'a>);

impl<'a, T: 'a> Request<'a, T> {
    pub(crate) fn plain<R: Future<Output = Result<T>> + MaybeSend + 'a>(
        start: impl FnOnce(Wait) -> R + MaybeSend + 'a,
    ) -> Self {
        let start = |wait: Wait| -> Running<'a, T> { Box::pin(start(wait)) };
        Self::new(Plain(Box::new(start)), |Plain(start), wait| start.start(wait))
    }
}

/// `FnOnce(Wait)`, and `Send` wherever futures are.
trait Start<'a, T>: MaybeSend {
    fn start(self: Box<Self>, wait: Wait) -> Running<'a, T>;
}

impl<'a, T, S: FnOnce(Wait) -> Running<'a, T> + MaybeSend> Start<'a, T> for S {
    fn start(self: Box<Self>, wait: Wait) -> Running<'a, T> {
        self(wait)
    }
}

/// A question about rows of a batch, which may end at different times. Sealed.
pub trait Rows<'a>: sealed::Sealed {
    #[doc(hidden)]
    fn set_lengths(&mut self, lengths: &'a [usize]);
    #[doc(hidden)]
    fn set_padding_value(&mut self, padding_value: f64);
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

impl<'a, T, Q: Rows<'a>> Request<'a, T, Q> {
    /// Sets the number of time steps of each batch row, `[B]` in any order, like `pack_padded_sequence` with
    /// `enforce_sorted=False` and `pad_packed_sequence` with `total_length=T` in PyTorch. The reverse direction starts
    /// at each row's own last element, and states are those at each row's own end. A length of 0 passes the row's state
    /// through, where PyTorch raises an error.
    ///
    /// The request fails with [`Error::Shape`] unless there is one length per row, and with [`Error::Config`] for a
    /// length above T.
    pub fn lengths(mut self, lengths: &'a [usize]) -> Self {
        self.question.set_lengths(lengths);
        self
    }

    /// Sets the value of the output, and of the states after every step, past a row's end; 0 by default.
    pub fn padding_value(mut self, padding_value: f64) -> Self {
        self.question.set_padding_value(padding_value);
        self
    }
}

/// A question that starts from a state. Sealed.
pub trait FromState<'a>: sealed::Sealed {
    /// The state of the layer or cell on the host.
    type State: 'a;
    #[doc(hidden)]
    fn set_state(&mut self, state: Option<&'a Self::State>);
}

impl<'a, T, Q: FromState<'a>> Request<'a, T, Q> {
    /// Sets the state to start from, in PyTorch's shape: `&state`, `Some(&state)` or `None`, which means zeros, the
    /// default.
    pub fn state(mut self, state: impl Into<Option<&'a Q::State>>) -> Self {
        self.question.set_state(state.into());
        self
    }
}
