//! Where a model runs.

use std::fmt;
use std::sync::Arc;

use crate::cpu;
use crate::error::{Error, Result};
use crate::gpu::adapter::{self, Chosen, GpuOptions};
use crate::gpu::context::{self, Context};
#[cfg(not(target_arch = "wasm32"))]
use crate::gpu::instance;

/// Where models run: a GPU, or the CPU. Cheap to clone; clones share the device and its compiled kernels.
///
/// ```
/// use wgpu_rnn::Device;
///
/// let device = Device::auto();
/// println!("{device}: {}", device.reason());
/// # assert!(!device.reason().is_empty());
/// ```
#[derive(Clone, Debug)]
pub struct Device {
    backend: Backend,
    reason: String,
}

#[derive(Clone, Debug)]
pub(crate) enum Backend {
    Cpu {
        /// The most threads of a forward.
        threads: usize,
    },
    Gpu(Arc<Context>),
}

impl Device {
    /// Opens the best real GPU; where there is none, returns the CPU, as a software adapter is slower than the CPU
    /// path. [`reason`](Self::reason) says which and why. A software adapter that `WGPU_ADAPTER_NAME` names is used.
    ///
    /// This cannot fail: the CPU is always there. In `async` code and in the browser, use [`GpuOptions::open_or_cpu`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn auto() -> Self {
        pollster::block_on(GpuOptions::new().open_or_cpu())
    }

    /// Opens a GPU that fits `options`; a software adapter (lavapipe, SwiftShader, WARP) where it is the only one that
    /// fits. In `async` code and in the browser, use [`GpuOptions::open`].
    ///
    /// # Errors
    /// As [`GpuOptions::open`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn gpu(options: &GpuOptions) -> Result<Self> {
        pollster::block_on(options.clone().open())
    }

    /// Opens every real GPU, each once even where several backends show it, dedicated ones first. The environment
    /// variables of [`GpuOptions`] apply; a software adapter is among them only if `WGPU_ADAPTER_NAME` names it.
    ///
    /// ```no_run
    /// use wgpu_rnn::Device;
    ///
    /// for device in Device::gpus()? {
    ///     let bus_id = device.adapter_info().map(|info| &info.device_pci_bus_id);
    ///     println!("{device} at {bus_id:?}");
    /// }
    /// # Ok::<(), wgpu_rnn::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoAdapter`] when there is none, [`Error::RequestDevice`] when a driver rejects the request.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn gpus() -> Result<Vec<Self>> {
        pollster::block_on(async {
            let mut devices = Vec::new();
            for chosen in adapter::choose_all().await? {
                devices.push(Self::open(chosen).await?);
            }
            Ok(devices)
        })
    }

    async fn open(chosen: Chosen) -> Result<Self> {
        let context = Context::open(&chosen).await?;
        log::info!("running on {}: {}", adapter::describe(&context.info), chosen.reason);
        Ok(Self { backend: Backend::Gpu(Arc::new(context)), reason: chosen.reason })
    }

    /// Returns the CPU, with as many threads as the process may use.
    pub fn cpu() -> Self {
        Self::on_cpu("the CPU was asked for".to_owned())
    }

    /// Returns the CPU, where a forward uses at most `threads` threads: the calling one and up to `threads` − 1 more.
    /// Small layers use fewer, and f64 uses one. The number changes no bit of a result.
    ///
    /// # Errors
    /// [`Error::Config`] if `threads` is 0.
    pub fn cpu_with(threads: usize) -> Result<Self> {
        if threads == 0 {
            return Err(Error::Config { argument: "threads", expected: "at least 1", got: "0".to_owned() });
        }
        let plural = if threads == 1 { "" } else { "s" };
        let reason = format!("the CPU was asked for, with at most {threads} thread{plural}");
        Ok(Self { backend: Backend::Cpu { threads }, reason })
    }

    fn on_cpu(reason: String) -> Self {
        Self { backend: Backend::Cpu { threads: cpu::available_threads() }, reason }
    }

    /// Returns a device that runs on the caller's wgpu device and queue. They are never destroyed, and the device's
    /// error and loss handlers stay the caller's. The model's limits are the device's: request it with what the adapter
    /// has if models are large, and with [`optional_features`](Self::optional_features) if they are to do what they do
    /// on a device of the crate's own.
    ///
    /// ```no_run
    /// use wgpu_rnn::{Device, Lstm, LstmConfig, Tensor, wgpu};
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    /// let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await?;
    /// let (device, queue) = adapter
    ///     .request_device(&wgpu::DeviceDescriptor {
    ///         required_features: adapter.features() & Device::optional_features(),
    ///         required_limits: adapter.limits(),
    ///         ..Default::default()
    ///     })
    ///     .await?;
    ///
    /// // The program goes on using its device, whose buffers models can read and write.
    /// let shared = Device::from_wgpu(device.clone(), queue.clone());
    /// let lstm = Lstm::random(LstmConfig::new(4, 8), 0)?.to(&shared)?;
    /// let (output, state) = lstm.forward(&Tensor::zeros([10, 2, 4])?, None)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// wgpu panics at the first use if the two are not of one `request_device` call; it gives no way to tell before.
    pub fn from_wgpu(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let context = Arc::new(Context::borrow(device, queue));
        Self { backend: Backend::Gpu(context), reason: "the caller's own device".to_owned() }
    }

    /// Returns the device with the tiles and the choice of strategies of a real GPU, which a software adapter then runs
    /// as well: for tests of what GPUs run, on machines without one.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on the CPU, and on a device that has clones or models.
    #[doc(hidden)]
    pub fn with_hardware_tiles(self) -> Result<Self> {
        let Backend::Gpu(context) = self.backend else { return Err(needs_gpu("tiles of a GPU")) };
        let what = || format!("other tiles for {}", adapter::describe(&context.info));
        let shared = Error::Unsupported { what: what(), why: "others use the device already".to_owned() };
        let context = Arc::try_unwrap(context).map_err(|_| shared)?.with_hardware_tiles();
        Ok(Self { backend: Backend::Gpu(Arc::new(context)), reason: self.reason })
    }

    /// Returns the features that models use where a device has them, which is `PIPELINE_CACHE`, to be asked for on a
    /// device of the caller's own: `required_features: adapter.features() & Device::optional_features()`. None is
    /// required.
    pub const fn optional_features() -> wgpu::Features {
        context::OPTIONAL_FEATURES
    }

    /// Compiles all kernels, of this device and its clones, through a cache of the caller's, so that a program that
    /// keeps [`get_data`](wgpu::PipelineCache::get_data) in a file may start sooner the next time: the example
    /// `warm_start` shows how. Most drivers of desktop GPUs keep a cache of their own already, and gain little.
    ///
    /// To make one from a file is up to the caller, as it takes `unsafe`: nothing proves that a driver wrote what is in
    /// the file.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a device without [`Features::PIPELINE_CACHE`](wgpu::Features::PIPELINE_CACHE) (only
    /// Vulkan has it; open a device of your own with [`optional_features`](Self::optional_features)), or once a kernel
    /// was compiled: set the cache before the first model runs. A cache of another device is reported by the first
    /// model that runs, with [`Error::Gpu`]; one of another `wgpu::Instance` cannot be told, and wgpu panics.
    pub fn set_pipeline_cache(&self, cache: wgpu::PipelineCache) -> Result<()> {
        let Backend::Gpu(context) = &self.backend else { return Err(needs_gpu("a pipeline cache")) };
        if !context.gpu.device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return Err(Error::Unsupported {
                what: format!("a pipeline cache on {self}"),
                why: "the device was opened without Features::PIPELINE_CACHE".to_owned(),
            });
        }
        context.pipelines.set_cache(cache)
    }

    /// Returns the adapters with compute shaders that are there, of all backends, in the drivers' order. A GPU that
    /// several backends show is there several times.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn adapters() -> Vec<wgpu::AdapterInfo> {
        let adapters = pollster::block_on(instance::adapters(wgpu::Backends::all(), Default::default()));
        adapters.iter().map(wgpu::Adapter::get_info).collect()
    }

    /// Returns why this device was chosen, in words.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Returns whether models run on a GPU or a software adapter.
    pub fn is_gpu(&self) -> bool {
        matches!(self.backend, Backend::Gpu(_))
    }

    /// Returns the adapter; `None` for the CPU.
    pub fn adapter_info(&self) -> Option<&wgpu::AdapterInfo> {
        match &self.backend {
            Backend::Cpu { .. } => None,
            Backend::Gpu(context) => Some(&context.info),
        }
    }

    /// Returns the wgpu device and queue, for buffers that models share with other work; `None` for the CPU.
    pub fn wgpu(&self) -> Option<(&wgpu::Device, &wgpu::Queue)> {
        match &self.backend {
            Backend::Cpu { .. } => None,
            Backend::Gpu(context) => Some((&context.gpu.device, &context.gpu.queue)),
        }
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }
}

impl GpuOptions {
    /// Opens a GPU that fits; a software adapter (lavapipe, SwiftShader, WARP) where it is the only one that fits.
    ///
    /// [`Device::gpu`] does the same and blocks. Natively a driver answers while it is asked, so that this future is
    /// ready at once; in a browser it waits.
    ///
    /// ```no_run
    /// use wgpu_rnn::GpuOptions;
    ///
    /// # async fn run() -> wgpu_rnn::Result<()> {
    /// let device = GpuOptions::new().with_name("nvidia").open().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoAdapter`] when no adapter fits, [`Error::RequestDevice`] when the driver rejects the request.
    pub async fn open(self) -> Result<Device> {
        Device::open(adapter::choose(&self).await?).await
    }

    /// Opens the best real GPU that fits, or a software adapter that the options or the environment name; where there
    /// is none, returns the CPU. [`Device::reason`] says which and why.
    ///
    /// [`Device::auto`] does the same with options that leave everything open, and blocks.
    pub async fn open_or_cpu(self) -> Device {
        let fallback = |why: String| {
            log::info!("running on the CPU: {why}");
            Device::on_cpu(why)
        };
        match adapter::choose_real(&self).await {
            Ok(chosen) => Device::open(chosen).await.unwrap_or_else(|error| fallback(error.to_string())),
            Err(why) => fallback(why),
        }
    }
}

/// "CPU", or the adapter with its backend and kind.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.backend {
            Backend::Cpu { .. } => f.write_str("CPU"),
            Backend::Gpu(context) => f.write_str(&adapter::describe(&context.info)),
        }
    }
}

/// The error of GPU-only calls on a model that is on the CPU.
pub(crate) fn needs_gpu(what: &str) -> Error {
    Error::Unsupported { what: format!("{what} on the CPU"), why: "place the model on a GPU device".to_owned() }
}
