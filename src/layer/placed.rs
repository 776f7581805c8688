//! A layer on a device: its settings and properties.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blocking::Wait;
use crate::call::Task;
use crate::device::{Device, needs_gpu};
use crate::dropout::Training;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::extents::Extents;
use crate::layer::Layer;
use crate::layer::config::Config;
use crate::layer::kind::Kind;
use crate::layer::plan::Plan;
use crate::mode::Mode;
use crate::model::{Asked, Engine, PlacedModel};
use crate::options::Options;
use crate::plan::backward::TrainingPlan;
use crate::real::Real;
use crate::request::Request;
use crate::strategy::Strategy;
use crate::tensor::Tensor;

/// A [`Layer`] on a device, ready to run: [`PlacedLstm`](crate::PlacedLstm), [`PlacedGru`](crate::PlacedGru) or
/// [`PlacedRnn`](crate::PlacedRnn). [`Layer::to`] creates it. May be used from several threads at once.
///
/// Cheap to clone: clones are the same model, with the same weights, buffers and settings, until an optimiser's
/// [step](crate::Step) gives one of them weights of its own. It keeps the buffers of the last few shapes, so that a
/// call with a known shape creates nothing on the device. [`to_layer`](Self::to_layer) returns the weights.
///
/// ```
/// use wgpu_rnn::{Device, Lstm, LstmConfig, Tensor};
///
/// let lstm = Lstm::random(LstmConfig::new(10, 20).with_num_layers(3), 0)?.to(&Device::cpu())?;
/// assert_eq!(lstm.to_string(), "LSTM(10, 20, num_layers=3) on CPU");
///
/// let x = Tensor::zeros([5, 2, 10])?; // [T, B, I]
/// let (output, state) = lstm.forward(&x, None)?; // from a zero state
/// let (output, state) = lstm.forward(&x, &state)?; // continues where the first call ended
/// let state = lstm.request(&x).state(&state).last_state().run()?; // without the output
///
/// let elsewhere = lstm.clone();
/// let output = std::thread::spawn(move || elsewhere.forward(&x, &state)).join().unwrap()?.0;
/// assert_eq!(output.shape(), [5, 2, 20]); // [T, B, D·H]
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
#[derive(Clone)]
pub struct Placed<K: Kind, F: Real = f32>(Arc<Shared<K, F>>);

struct Shared<K, F> {
    config: Config<K>,
    /// The layer on the host; `None` once the device has changed its own weights.
    layer: Option<Layer<K, F>>,
    device: Device,
    model: PlacedModel<F>,
    settings: Mutex<Settings>,
}

/// The settings of a model, on any device.
#[derive(Clone, Default)]
struct Settings {
    mode: Mode,
    /// The masks of the newest training mode, which go on where they ended if it returns with the same seed.
    masks: Option<Arc<Training>>,
    /// The strategy requested on the CPU, where it has no effect.
    strategy: Strategy,
}

impl<K: Kind, F: Real> Placed<K, F> {
    pub(super) fn new(layer: Layer<K, F>, device: Device, model: PlacedModel<F>) -> Self {
        let config = layer.config().clone();
        Self(Arc::new(Shared { config, layer: Some(layer), device, model, settings: Mutex::default() }))
    }

    pub(crate) fn model(&self) -> &PlacedModel<F> {
        &self.0.model
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        // Settings are consistent after every assignment, so a panic of another thread does not invalidate them.
        self.0.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the layer with other weights on the same device, with the same settings and the same sequence of masks.
    pub(crate) async fn with_layer(&self, layer: Layer<K, F>, wait: Wait) -> Result<Self> {
        let model = self.0.model.with_weights(layer.layers(), self.device(), wait).await?;
        Ok(self.with_model(model, Some(layer)))
    }

    /// Returns the layer with a copy of its weights on the device, with the same settings and the same sequence of
    /// masks.
    pub(crate) async fn copied(&self) -> Result<Self> {
        Ok(self.with_model(self.0.model.copied().await?, self.0.layer.clone()))
    }

    fn with_model(&self, model: PlacedModel<F>, layer: Option<Layer<K, F>>) -> Self {
        let settings = Mutex::new(self.settings().clone());
        let (config, device) = (self.config().clone(), self.device().clone());
        Self(Arc::new(Shared { config, layer, device, model, settings }))
    }

    /// Returns true if nothing else uses the model: no clone, and no stream.
    pub(crate) fn is_alone(&mut self) -> bool {
        Arc::get_mut(&mut self.0).is_some_and(|shared| shared.model.is_alone())
    }

    /// Notes that the device has changed its weights, which nothing else uses.
    pub(crate) fn forget_layer(&mut self) {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.layer = None;
        }
    }

    /// Returns the layer if it is on the host, as it always is on the CPU.
    pub(crate) fn on_host(&self) -> Option<&Layer<K, F>> {
        self.0.layer.as_ref()
    }

    /// Returns the layer, with the weights of the last [step](crate::Step) of an optimiser: to save it, or to place it
    /// elsewhere. After steps on a GPU, this waits for them and reads the weights back.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if memory runs out; [`Error::NonFinite`] if a step has made a weight NaN or infinite; on a
    /// GPU, after a step, [`Error::OutOfMemory`] and [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn to_layer(&self) -> Result<Layer<K, F>> {
        pollster::block_on(self.read_layer(Wait::Blocking))
    }

    /// Requests [`to_layer`](Self::to_layer), which does not have to block. See [`Request`].
    pub fn request_layer(&self) -> Request<'_, Layer<K, F>> {
        Request::plain(async move |wait| self.read_layer(wait).await)
    }

    async fn read_layer(&self, wait: Wait) -> Result<Layer<K, F>> {
        match (&self.0.layer, &self.model().engine) {
            (Some(layer), _) => Ok(layer.clone()),
            (None, Engine::Gpu(model)) => Layer::new(self.config().clone(), model.read_weights(wait).await?),
            (None, Engine::Cpu(_)) => Err(needs_gpu("a step in place")), // only a GPU forgets the layer
        }
    }

    /// Returns the configuration.
    pub fn config(&self) -> &Config<K> {
        &self.0.config
    }

    /// Returns the device that the layer runs on.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// Returns the shape of the output for an input of this shape.
    pub(super) fn output_shape(&self, input_shape: &[usize]) -> Result<Vec<usize>> {
        let config = &self.config().0;
        Ok(Extents::of_input(config, input_shape)?.shape(config.output_size()))
    }

    /// Runs a forward of zeros, so that the first real one of this input shape compiles nothing and creates no buffers.
    ///
    /// # Errors
    /// The errors of [`forward`](Self::forward), when the request runs.
    pub fn warm_up<'a>(&'a self, input_shape: &'a [usize]) -> Request<'a, ()> {
        Request::plain(async move |wait| {
            let zeros = Tensor::zeros(input_shape)?;
            // Draws its own masks, so that those of the model's calls stay the same.
            let training = self.drops_out().then(|| Training::new(0));
            let options = Options::new();
            let asked = Asked { options, training: training.as_ref(), output: true, all_states: false };
            self.model().forward(&zeros.as_view(), None, asked, wait).await.map(drop)
        })
    }

    /// Limits the device memory that a forward may take in addition to the weights, in bytes as counted by
    /// [`Plan::device_bytes`], or a training pass, as counted by [`TrainingPlan::device_bytes`]. Less memory means
    /// fewer steps at a time for the products over many steps, and the same bits. Without a limit, that product takes
    /// at most 64 MiB, or one step if that is larger. Up to four sets of buffers, each within the limit, are kept for
    /// later calls. A call whose shape does not fit is rejected with [`Error::Limit`].
    ///
    /// This has no effect on the CPU, which takes no device memory.
    pub fn set_memory_limit(&self, bytes: u64) {
        if let Engine::Gpu(model) = &self.model().engine {
            model.set_forward_memory(bytes);
        }
    }

    /// Requests a strategy of the recurrence, instead of the one chosen by sizes and device or found by
    /// [`tune`](Self::tune); [`Strategy::Auto`] returns to that choice. Streams keep the strategy that they started
    /// with.
    ///
    /// Strategies apply to GPUs. On the CPU, any strategy is accepted and stored, and has no effect.
    ///
    /// # Errors
    /// [`Error::Unsupported`] or [`Error::Limit`] for a strategy that cannot run this model on this GPU, with the
    /// reason; the previous strategy then stays. A call whose shape does not fit is rejected with [`Error::Limit`].
    pub fn set_strategy(&self, strategy: Strategy) -> Result<()> {
        match &self.model().engine {
            Engine::Cpu(_) => {
                self.settings().strategy = strategy;
                Ok(())
            }
            Engine::Gpu(model) => model.set_strategy(strategy),
        }
    }

    /// Returns the requested strategy; [`Strategy::Auto`] if none was requested.
    pub fn strategy(&self) -> Strategy {
        match &self.model().engine {
            Engine::Cpu(_) => self.settings().strategy,
            Engine::Gpu(model) => model.strategy(),
        }
    }

    /// Selects evaluation, the mode after placing, or training, in which dropout acts: `eval()` and `train()` in
    /// PyTorch. It applies to all later calls, of all clones.
    ///
    /// Every call draws new masks. They follow from the seed and the number of calls before, so that going to
    /// evaluation and back with the same seed does not repeat them; [`set_mask_count`](Self::set_mask_count) does.
    pub fn set_mode(&self, mode: Mode) {
        let mut settings = self.settings();
        settings.mode = mode;
        if let Mode::Training { seed } = mode
            && settings.masks.as_ref().is_none_or(|masks| masks.seed != seed)
        {
            settings.masks = Some(Arc::new(Training::new(seed)));
        }
    }

    /// Returns the mode that was set.
    pub fn mode(&self) -> Mode {
        self.settings().mode
    }

    /// Returns the number of calls in training mode so far, from which the masks of the next follow. It is part of a
    /// checkpoint of a training with dropout.
    pub fn mask_count(&self) -> u64 {
        self.settings().masks.as_ref().map_or(0, |masks| masks.calls())
    }

    /// Sets the number of calls in training mode, as after loading a checkpoint; it has no effect before training mode
    /// was selected.
    pub fn set_mask_count(&self, calls: u64) {
        if let Some(masks) = &self.settings().masks {
            masks.set_calls(calls);
        }
    }

    pub(super) fn training(&self) -> Option<Arc<Training>> {
        let settings = self.settings();
        settings.masks.clone().filter(|_| settings.mode != Mode::Evaluation)
    }

    pub(super) fn drops_out(&self) -> bool {
        self.training().is_some() && self.config().0.dropped_layers() > 0
    }

    /// Returns what a forward with T = `time_steps` and B = `batch` will do: on a GPU, strategy, chunks, dispatches and
    /// memory; on the CPU, instruction set, threads and tiles.
    ///
    /// # Errors
    /// [`Error::Limit`] if the device cannot hold it.
    pub fn plan(&self, time_steps: usize, batch: usize) -> Result<Plan> {
        let extents = Extents::batched(&self.config().0, time_steps, batch);
        match &self.model().engine {
            Engine::Cpu(model) => Ok(Plan::Cpu(model.plan(&extents))),
            Engine::Gpu(model) => {
                let task = Task { dropout: self.drops_out(), ..Task::forward(extents) };
                Ok(Plan::Gpu(model.plan_forward(task)?.into()))
            }
        }
    }

    /// Returns what a training pass with T = `time_steps` and B = `batch` will do on a GPU.
    ///
    /// # Errors
    /// [`Error::Limit`] if the device cannot hold it; [`Error::Unsupported`] on the CPU, and for weights in
    /// [`Precision::F16`](crate::Precision::F16).
    pub fn plan_training(&self, time_steps: usize, batch: usize) -> Result<TrainingPlan> {
        let Engine::Gpu(model) = &self.model().engine else {
            return Err(needs_gpu("a plan of training"));
        };
        self.model().check_trainable()?;
        let extents = Extents::batched(&self.config().0, time_steps, batch);
        model.plan_training(Task { dropout: self.drops_out(), ..Task::forward(extents) })
    }
}

/// Writes the same as [`Display`](fmt::Display): weights are not printed.
impl<K: Kind, F: Real> fmt::Debug for Placed<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Placed({self})")
    }
}

/// Writes the layer and its device: "LSTM(10, 20) on CPU".
impl<K: Kind, F: Real> fmt::Display for Placed<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.config(), self.device())
    }
}
