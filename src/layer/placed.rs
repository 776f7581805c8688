//! A layer on a device: forward, plan, and recording into a caller's encoder.

use crate::call::Task;
use crate::device::{Device, needs_gpu};
use crate::dropout::Training;
use crate::extents::Extents;
use crate::gpu::Wait;
use crate::layer::config::Config;
use crate::layer::kind::Kind;
use crate::layer::streams::Streams;
use crate::model::{Forward, Place, PlacedModel};
use crate::options::{Mode, Options};
use crate::plan::Plan;
use crate::session::Session;
use crate::strategy::Strategy;
use crate::{Error, Real, Result, Tensor};

/// A [`Layer`](crate::Layer) on a device, ready to run: [`PlacedLstm`](crate::PlacedLstm), [`PlacedGru`](crate::PlacedGru) or
/// [`PlacedRnn`](crate::PlacedRnn). May be used from several threads at once.
///
/// It keeps the buffers of the last few shapes, so that a call of a shape that it knows creates nothing on the device.
#[derive(Debug)]
pub struct Placed<K, F = f32> {
    pub(super) config: Config<K>,
    pub(super) device: Device,
    pub(super) model: PlacedModel<F>,
    pub(super) training: Option<Training>,
}

/// What [`Placed::forward_all_states`] gives.
#[derive(Clone, Debug, PartialEq)]
pub struct AllStates<K: Kind, F: Real = f32> {
    /// As of a forward: `[T, B, D·P]`, `[B, T, D·P]` with batch_first.
    pub output: Tensor<F>,
    /// The last state, as of a forward: h `[L·D, B, P]`, c `[L·D, B, H]`.
    pub last: K::State<F>,
    /// The state after every step: h `[L·D, T, B, P]`, c `[L·D, T, B, H]`, unbatched without B, with batch_first the same. At t
    /// stands what a direction holds after it has read time t; behind a row's end, the padding value.
    pub all: K::State<F>,
}

impl<K: Kind, F: Real> Placed<K, F> {
    /// Runs the layer: output and last state, as `module(input, state)` in PyTorch. The state of an LSTM is
    /// [`LstmState`](crate::LstmState), `(h, c)`; of a GRU or RNN it is h, a [`Tensor`].
    ///
    /// | | batched | batch_first | unbatched |
    /// |---|---|---|---|
    /// | input | `[T, B, I]` | `[B, T, I]` | `[T, I]` |
    /// | output | `[T, B, D·P]` | `[B, T, D·P]` | `[T, D·P]` |
    /// | h | `[L·D, B, P]` | `[L·D, B, P]` | `[L·D, P]` |
    /// | c of an LSTM | `[L·D, B, H]` | `[L·D, B, H]` | `[L·D, H]` |
    ///
    /// P is H, but for an LSTM with `proj_size`.
    ///
    /// No state means zeros. B = 0 gives empty results; T = 0 gives the state back, where PyTorch raises an error.
    ///
    /// # Errors
    /// [`Error::Shape`] for an input or state of the wrong shape, [`Error::Limit`] for a shape that the device cannot hold,
    /// both before any work; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn forward(&self, input: &Tensor<F>, state: Option<&K::State<F>>) -> Result<(Tensor<F>, K::State<F>)> {
        pollster::block_on(self.run(input, state, &Options::new(), Wait::Blocking))
    }

    /// [`forward`](Self::forward) without blocking. The CPU path computes inside the call.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub async fn forward_async(
        &self,
        input: &Tensor<F>,
        state: Option<&K::State<F>>,
    ) -> Result<(Tensor<F>, K::State<F>)> {
        self.run(input, state, &Options::new(), Wait::Async).await
    }

    /// [`forward`](Self::forward) with options: rows of different lengths.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`Error::Shape`](crate::Error::Shape) unless there is a length for each row,
    /// [`Error::Config`](crate::Error::Config) for a length above T.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn forward_with(
        &self,
        input: &Tensor<F>,
        state: Option<&K::State<F>>,
        options: &Options<'_>,
    ) -> Result<(Tensor<F>, K::State<F>)> {
        pollster::block_on(self.run(input, state, options, Wait::Blocking))
    }

    /// [`forward_with`](Self::forward_with) without blocking.
    ///
    /// # Errors
    /// As [`forward_with`](Self::forward_with).
    pub async fn forward_with_async(
        &self,
        input: &Tensor<F>,
        state: Option<&K::State<F>>,
        options: &Options<'_>,
    ) -> Result<(Tensor<F>, K::State<F>)> {
        self.run(input, state, options, Wait::Async).await
    }

    /// [`forward_with`](Self::forward_with), giving the states after every step as well: h of all layers and c, for those who
    /// look into a model or go on from the middle of a sequence. On a GPU the kernels are the same, and there is one readback.
    ///
    /// # Errors
    /// As [`forward_with`](Self::forward_with).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn forward_all_states(
        &self,
        input: &Tensor<F>,
        state: Option<&K::State<F>>,
        options: &Options<'_>,
    ) -> Result<AllStates<K, F>> {
        pollster::block_on(self.run_all_states(input, state, options, Wait::Blocking))
    }

    /// [`forward_all_states`](Self::forward_all_states) without blocking.
    ///
    /// # Errors
    /// As [`forward_with`](Self::forward_with).
    pub async fn forward_all_states_async(
        &self,
        input: &Tensor<F>,
        state: Option<&K::State<F>>,
        options: &Options<'_>,
    ) -> Result<AllStates<K, F>> {
        self.run_all_states(input, state, options, Wait::Async).await
    }

    async fn run(
        &self,
        input: &Tensor<F>,
        state: Option<&K::State<F>>,
        options: &Options<'_>,
        wait: Wait,
    ) -> Result<(Tensor<F>, K::State<F>)> {
        let Forward { output, states, .. } = self.run_model(input, state, options, false, wait).await?;
        Ok((output, K::state(states)?))
    }

    async fn run_all_states(
        &self,
        input: &Tensor<F>,
        state: Option<&K::State<F>>,
        options: &Options<'_>,
        wait: Wait,
    ) -> Result<AllStates<K, F>> {
        let Forward { output, states, all } = self.run_model(input, state, options, true, wait).await?;
        Ok(AllStates { output, last: K::state(states)?, all: K::state(all)? })
    }

    async fn run_model(
        &self,
        input: &Tensor<F>,
        state: Option<&K::State<F>>,
        options: &Options<'_>,
        all_states: bool,
        wait: Wait,
    ) -> Result<Forward<F>> {
        let initial = state.map(K::arrays);
        self.model.forward(input, initial.as_deref(), options, self.training.as_ref(), all_states, wait).await
    }

    /// Runs a forward of zeros, so that the first real one of this input shape compiles nothing and makes no buffers.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn warm_up(&self, input_shape: &[usize]) -> Result<()> {
        pollster::block_on(self.warm_up_waiting(input_shape, Wait::Blocking))
    }

    /// [`warm_up`](Self::warm_up) without blocking.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub async fn warm_up_async(&self, input_shape: &[usize]) -> Result<()> {
        self.warm_up_waiting(input_shape, Wait::Async).await
    }

    async fn warm_up_waiting(&self, input_shape: &[usize], wait: Wait) -> Result<()> {
        let zeros = Tensor::zeros(input_shape)?;
        // The masks are none of the model's own, which are those of its calls.
        let training = self.drops_out().then(|| Training::new(0));
        self.model.forward(&zeros, None, &Options::new(), training.as_ref(), false, wait).await.map(drop)
    }

    /// The most device memory that a forward may take beside the weights, what [`Plan::device_bytes`] counts. Less means fewer
    /// steps at a time for the input product, and the same bits. Without a limit that product takes 64 MiB at most, or one step.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on the CPU. A shape that does not fit is refused where it comes up, by [`Error::Limit`].
    pub fn set_memory_limit(&self, bytes: u64) -> Result<()> {
        match &self.model.place {
            Place::Cpu(_) => Err(needs_gpu("a limit of device memory")),
            Place::Gpu(model) => {
                model.set_forward_memory(bytes);
                Ok(())
            }
        }
    }

    /// Asks for a strategy of the recurrence in place of the one that is chosen by sizes and device or was found by `tune`;
    /// [`Strategy::Auto`] goes back to the choice. Streams keep the one that they started with.
    ///
    /// # Errors
    /// [`Error::Unsupported`] or [`Error::Limit`] for a strategy that cannot run this model on this device, with the reason; the
    /// one before stays then. A shape that does not fit is refused where it comes up, by [`Error::Limit`]. On the CPU,
    /// [`Error::Unsupported`] for all but [`Strategy::Auto`].
    pub fn set_strategy(&self, strategy: Strategy) -> Result<()> {
        match &self.model.place {
            Place::Cpu(_) if strategy == Strategy::Auto => Ok(()),
            Place::Cpu(_) => Err(needs_gpu("a choice of strategy")),
            Place::Gpu(model) => model.set_strategy(strategy),
        }
    }

    /// Chooses between evaluation, the mode after placing, and training, where dropout acts: `eval()` and `train()` in PyTorch.
    pub fn set_mode(&mut self, mode: Mode) {
        self.training = match mode {
            Mode::Evaluation => None,
            Mode::Training { seed } => Some(Training::new(seed)),
        };
    }

    /// The mode that was set.
    pub fn mode(&self) -> Mode {
        self.training.as_ref().map_or(Mode::Evaluation, |training| Mode::Training { seed: training.seed })
    }

    pub(super) fn drops_out(&self) -> bool {
        self.training.is_some() && self.config.0.dropped_layers() > 0
    }

    /// As many streams with zero states, which stay where the layer is: [`Streams`]. They run in evaluation mode, whatever mode
    /// is set later.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a bidirectional layer: its reverse direction starts at the end of a sequence, and a stream
    /// has none; nor with dropout in training mode. [`Error::Limit`] or [`Error::TooLarge`] when the states do not fit, [`Error::OutOfMemory`],
    /// [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn streams(&self, count: usize) -> Result<Streams<K, F>> {
        pollster::block_on(self.streams_async(count))
    }

    /// [`streams`](Self::streams) without blocking.
    ///
    /// # Errors
    /// As [`streams`](Self::streams).
    pub async fn streams_async(&self, count: usize) -> Result<Streams<K, F>> {
        self.streams_with_capacity_async(count, count).await
    }

    /// [`streams`](Self::streams) with room for as many as `capacity`, and kernels chosen for that many: for programs that start
    /// with few and expect more.
    ///
    /// # Errors
    /// As [`streams`](Self::streams).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn streams_with_capacity(&self, count: usize, capacity: usize) -> Result<Streams<K, F>> {
        pollster::block_on(self.streams_with_capacity_async(count, capacity))
    }

    /// [`streams_with_capacity`](Self::streams_with_capacity) without blocking.
    ///
    /// # Errors
    /// As [`streams`](Self::streams).
    pub async fn streams_with_capacity_async(&self, count: usize, capacity: usize) -> Result<Streams<K, F>> {
        if self.drops_out() {
            return Err(Error::Unsupported {
                what: "dropout over streams".to_owned(),
                why: "a stream is the same however it is cut, and masks are a call's; set the mode to evaluation"
                    .to_owned(),
            });
        }
        if self.config.0.bidirectional {
            return Err(Error::Unsupported {
                what: "a bidirectional layer over streams".to_owned(),
                why: "its reverse direction starts at the end of a sequence, and a stream has none".to_owned(),
            });
        }
        let session = Session::new(&self.model, capacity.max(count).max(1), true).await?;
        Ok(Streams::new(self.config.clone(), self.device.clone(), session, count))
    }

    /// What a forward of T = `time_steps` and B = `batch` will do on the GPU.
    ///
    /// # Errors
    /// [`Error::Limit`] when the device cannot hold it; [`Error::Unsupported`] on the CPU.
    pub fn plan(&self, time_steps: usize, batch: usize) -> Result<Plan> {
        match &self.model.place {
            Place::Cpu(_) => Err(needs_gpu("a plan of dispatches")),
            Place::Gpu(model) => model.plan_forward(Task {
                dropout: self.drops_out(),
                ..Task::forward(Extents::batched(&self.config.0, time_steps, batch))
            }),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Config<K> {
        &self.config
    }

    /// Where it runs.
    pub fn device(&self) -> &Device {
        &self.device
    }
}
