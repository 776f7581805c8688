//! Where a model runs.

use std::fmt;
use std::sync::Arc;

use crate::gpu::adapter::{self, Chosen, GpuOptions};
use crate::gpu::context::{self, Context};
use crate::{Error, Result};

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
    kind: Kind,
    reason: String,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Cpu,
    Gpu(Arc<Context>),
}

impl Device {
    /// The best real GPU; where there is none, the CPU, as a software adapter is slower than the CPU path.
    /// [`reason`](Self::reason) says which and why. A software adapter that `WGPU_ADAPTER_NAME` names is used.
    ///
    /// This cannot fail: the CPU is always there.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn auto() -> Self {
        pollster::block_on(Self::auto_async())
    }

    /// [`auto`](Self::auto) without blocking.
    pub async fn auto_async() -> Self {
        let fallback = |why: String| {
            log::info!("running on the CPU: {why}");
            Self { kind: Kind::Cpu, reason: why }
        };
        match adapter::choose_real().await {
            Ok(chosen) => match Self::open(chosen).await {
                Ok(device) => device,
                Err(error) => fallback(error.to_string()),
            },
            Err(why) => fallback(why),
        }
    }

    /// A GPU that fits `options`; a software adapter (lavapipe, SwiftShader, WARP) where it is the only one that fits.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] when no adapter fits, [`Error::RequestDevice`] when the driver refuses.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn gpu(options: &GpuOptions) -> Result<Self> {
        pollster::block_on(Self::gpu_async(options))
    }

    /// [`gpu`](Self::gpu) without blocking.
    ///
    /// # Errors
    /// As [`gpu`](Self::gpu).
    pub async fn gpu_async(options: &GpuOptions) -> Result<Self> {
        Self::open(adapter::choose(options).await?).await
    }

    async fn open(chosen: Chosen) -> Result<Self> {
        let context = Context::open(&chosen).await?;
        log::info!("running on {}: {}", adapter::describe(&context.info), chosen.reason);
        Ok(Self { kind: Kind::Gpu(Arc::new(context)), reason: chosen.reason })
    }

    /// The CPU.
    pub fn cpu() -> Self {
        Self { kind: Kind::Cpu, reason: "the CPU was asked for".to_owned() }
    }

    /// A device and queue of the caller's. They are never destroyed, and the device's error and loss handlers stay the
    /// caller's. The model's limits are the device's: request it with what the adapter has if models are large, and with
    /// [`optional_features`](Self::optional_features) if they are to do what they do on a device of the crate's own.
    ///
    /// Both must be of one `request_device` call: wgpu panics where they are not, and gives no way to tell.
    pub fn from_wgpu(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let context = Arc::new(Context::borrow(device, queue));
        Self { kind: Kind::Gpu(context), reason: "the caller's own device".to_owned() }
    }

    /// Returns the device with the tiles and the choice of strategies of a real GPU, which a software adapter then runs as well: for
    /// tests of what GPUs run, on machines without one.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on the CPU, and on a device that has clones or models.
    #[doc(hidden)]
    pub fn with_hardware_tiles(self) -> Result<Self> {
        let Kind::Gpu(context) = self.kind else { return Err(needs_gpu("tiles of a GPU")) };
        let what = || format!("other tiles for {}", adapter::describe(&context.info));
        let shared = Error::Unsupported { what: what(), why: "others use the device already".to_owned() };
        let context = Arc::try_unwrap(context).map_err(|_| shared)?.with_hardware_tiles();
        Ok(Self { kind: Kind::Gpu(Arc::new(context)), reason: self.reason })
    }

    /// The features that models use where a device has them, which is `PIPELINE_CACHE`, to be asked for on a device of the caller's
    /// own: `required_features: adapter.features() & Device::optional_features()`. None is needed.
    pub const fn optional_features() -> wgpu::Features {
        context::OPTIONAL_FEATURES
    }

    /// Compiles all kernels, of this device and its clones, through a cache of the caller's, so that a program that keeps
    /// [`get_data`](wgpu::PipelineCache::get_data) in a file may start sooner the next time: the example `warm_start` shows how. Most
    /// drivers of desktop GPUs keep a cache of their own already, and gain little.
    ///
    /// To make one from a file is for the caller, as it takes `unsafe`: nothing proves that a driver wrote what is in the file.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a device without [`Features::PIPELINE_CACHE`](wgpu::Features::PIPELINE_CACHE) (only Vulkan has it; open
    /// a device of your own with [`optional_features`](Self::optional_features)), or once a kernel was compiled: set the cache before
    /// the first model runs. A cache of another device is reported by the first model that runs, with [`Error::Gpu`]; one of another
    /// `wgpu::Instance` cannot be told, and wgpu panics.
    pub fn set_pipeline_cache(&self, cache: wgpu::PipelineCache) -> Result<()> {
        let Kind::Gpu(context) = &self.kind else { return Err(needs_gpu("a pipeline cache")) };
        if !context.gpu.device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return Err(Error::Unsupported {
                what: format!("a pipeline cache on {self}"),
                why: "the device was opened without Features::PIPELINE_CACHE".to_owned(),
            });
        }
        context.pipelines.set_cache(cache)
    }

    /// The adapters with compute shaders that are there, of all backends, in the drivers' order.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn adapters() -> Vec<wgpu::AdapterInfo> {
        pollster::block_on(Self::adapters_async())
    }

    /// [`adapters`](Self::adapters) without blocking.
    pub async fn adapters_async() -> Vec<wgpu::AdapterInfo> {
        adapter::enumerate(wgpu::Backends::all(), Default::default())
            .await
            .iter()
            .map(wgpu::Adapter::get_info)
            .collect()
    }

    /// Why this device was chosen, in words.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether models run on a GPU or a software adapter of one.
    pub fn is_gpu(&self) -> bool {
        matches!(self.kind, Kind::Gpu(_))
    }

    /// The adapter; `None` for the CPU.
    pub fn adapter_info(&self) -> Option<&wgpu::AdapterInfo> {
        match &self.kind {
            Kind::Cpu => None,
            Kind::Gpu(context) => Some(&context.info),
        }
    }

    /// The wgpu device and queue, for buffers that models share with other work; `None` for the CPU.
    pub fn wgpu(&self) -> Option<(&wgpu::Device, &wgpu::Queue)> {
        match &self.kind {
            Kind::Cpu => None,
            Kind::Gpu(context) => Some((&context.gpu.device, &context.gpu.queue)),
        }
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.kind
    }
}

/// "CPU", or the adapter with its backend and kind.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Cpu => f.write_str("CPU"),
            Kind::Gpu(context) => f.write_str(&adapter::describe(&context.info)),
        }
    }
}

/// The error of GPU-only calls on a model that is on the CPU.
pub(crate) fn needs_gpu(what: &str) -> Error {
    Error::Unsupported { what: format!("{what} on the CPU"), why: "place the model on a GPU device".to_owned() }
}
