//! A layer on a device: what is set on it, and what it tells.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::call::Task;
use crate::device::Device;
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
use crate::real::Real;
use crate::request::Request;
use crate::strategy::Strategy;
use crate::tensor::Tensor;

/// A [`Layer`] on a device, ready to run: [`PlacedLstm`](crate::PlacedLstm), [`PlacedGru`](crate::PlacedGru) or
/// [`PlacedRnn`](crate::PlacedRnn). [`Layer::to`] makes it. May be used from several threads at once.
///
/// Cheap to clone: clones are the same model, with the same weights, buffers and settings. It keeps the buffers of the
/// last few shapes, so that a call of a shape that it knows creates nothing on the device, and the weights on the host,
/// which [`layer`](Self::layer) gives back.
///
/// ```
/// use wgpu_rnn::{Device, Lstm, LstmConfig, Tensor};
///
/// let lstm = Lstm::random(LstmConfig::new(10, 20).with_num_layers(3), 0)?.to(&Device::cpu())?;
/// assert_eq!(lstm.to_string(), "LSTM(10, 20, num_layers=3) on CPU");
///
/// let x = Tensor::zeros([5, 2, 10])?; // [T, B, I]
/// let (output, state) = lstm.forward(&x, None)?; // from a zero state
/// let (output, state) = lstm.forward(&x, &state)?; // on from where the first call ended
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
    layer: Layer<K, F>,
    device: Device,
    model: PlacedModel<F>,
    settings: Mutex<Settings>,
}

/// The settings of a model, on whatever device.
#[derive(Default)]
struct Settings {
    /// `None` in evaluation mode.
    training: Option<Arc<Training>>,
    /// The one that was asked for on the CPU, where there is nothing to choose.
    strategy: Strategy,
}

impl<K: Kind, F: Real> Placed<K, F> {
    pub(super) fn new(layer: Layer<K, F>, device: Device, model: PlacedModel<F>) -> Self {
        Self(Arc::new(Shared { layer, device, model, settings: Mutex::default() }))
    }

    pub(super) fn model(&self) -> &PlacedModel<F> {
        &self.0.model
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        // Settings are whole after every assignment, so a panic of another thread does not spoil them.
        self.0.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the layer, as it was placed.
    pub fn layer(&self) -> &Layer<K, F> {
        &self.0.layer
    }

    /// Returns the configuration.
    pub fn config(&self) -> &Config<K> {
        self.0.layer.config()
    }

    /// Returns the device that it runs on.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// The shape of the output for an input of this shape.
    pub(super) fn output_shape(&self, input_shape: &[usize]) -> Result<Vec<usize>> {
        let config = &self.config().0;
        Ok(Extents::of_input(config, input_shape)?.shape(config.output_size()))
    }

    /// Runs a forward of zeros, so that the first real one of this input shape compiles nothing and makes no buffers.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn warm_up<'a>(&'a self, input_shape: &'a [usize]) -> Request<'a, ()> {
        Request::plain(async move |wait| {
            let zeros = Tensor::zeros(input_shape)?;
            // The masks are none of the model's own, which are those of its calls.
            let training = self.drops_out().then(|| Training::new(0));
            let options = Options::new();
            let asked = Asked { options, training: training.as_ref(), output: true, all_states: false };
            self.model().forward(&zeros.as_view(), None, asked, wait).await.map(drop)
        })
    }

    /// Bounds the device memory that a forward may take beside the weights, in bytes: what [`Plan::device_bytes`]
    /// counts. Less means fewer steps at a time for the input product, and the same bits. Without a limit that product
    /// takes 64 MiB at most, or one step. Up to four sets of buffers are kept for calls to come, of which each keeps to
    /// the limit. A shape that does not fit is rejected where it comes up, by [`Error::Limit`].
    ///
    /// On the CPU, which takes no device memory, this does nothing.
    pub fn set_memory_limit(&self, bytes: u64) {
        if let Engine::Gpu(model) = &self.model().engine {
            model.set_forward_memory(bytes);
        }
    }

    /// Asks for a strategy of the recurrence instead of the one that is chosen by sizes and device or was found by
    /// [`tune`](Self::tune); [`Strategy::Auto`] goes back to the choice. Streams keep the one that they started with.
    ///
    /// Strategies are a GPU's. On the CPU any is taken and kept, and has no effect.
    ///
    /// # Errors
    /// [`Error::Unsupported`] or [`Error::Limit`] for a strategy that cannot run this model on this GPU, with the
    /// reason; the one before stays then. A shape that does not fit is rejected where it comes up, by [`Error::Limit`].
    pub fn set_strategy(&self, strategy: Strategy) -> Result<()> {
        match &self.model().engine {
            Engine::Cpu(_) => {
                self.settings().strategy = strategy;
                Ok(())
            }
            Engine::Gpu(model) => model.set_strategy(strategy),
        }
    }

    /// Returns the strategy that was asked for; [`Strategy::Auto`] if none was.
    pub fn strategy(&self) -> Strategy {
        match &self.model().engine {
            Engine::Cpu(_) => self.settings().strategy,
            Engine::Gpu(model) => model.strategy(),
        }
    }

    /// Chooses between evaluation, the mode after placing, and training, where dropout acts: `eval()` and `train()` in
    /// PyTorch. It holds for the calls to come, of all clones.
    pub fn set_mode(&self, mode: Mode) {
        self.settings().training = match mode {
            Mode::Evaluation => None,
            Mode::Training { seed } => Some(Arc::new(Training::new(seed))),
        };
    }

    /// Returns the mode that was set.
    pub fn mode(&self) -> Mode {
        self.training().map_or(Mode::Evaluation, |training| Mode::Training { seed: training.seed })
    }

    pub(super) fn training(&self) -> Option<Arc<Training>> {
        self.settings().training.clone()
    }

    pub(super) fn drops_out(&self) -> bool {
        self.training().is_some() && self.config().0.dropped_layers() > 0
    }

    /// Tells what a forward of T = `time_steps` and B = `batch` will do: on a GPU strategy, chunks, dispatches and
    /// memory, on the CPU instruction set, threads and tiles.
    ///
    /// # Errors
    /// [`Error::Limit`] when the device cannot hold it.
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
}

/// As of [`Display`](fmt::Display): weights are not printed.
impl<K: Kind, F: Real> fmt::Debug for Placed<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Placed({self})")
    }
}

/// The layer and where it is: "LSTM(10, 20) on CPU".
impl<K: Kind, F: Real> fmt::Display for Placed<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.config(), self.device())
    }
}
