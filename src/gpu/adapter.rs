//! Finding and choosing an adapter.

#[cfg(not(target_arch = "wasm32"))]
use std::sync::{Mutex, PoisonError};

use wgpu::{AdapterInfo, Backends, DeviceType, PowerPreference};

use crate::{Error, Result};

/// How a GPU is chosen. What is left open is taken from wgpu's environment variables, and then by rank: real GPUs before
/// software adapters, dedicated before integrated ones (the other way round for `PowerPreference::LowPower`).
///
/// | option | environment variable | else |
/// |---|---|---|
/// | [`name`](Self::name) | `WGPU_ADAPTER_NAME` | any |
/// | [`backends`](Self::backends) | `WGPU_BACKEND` | Vulkan, Metal, DX12, WebGPU |
/// | [`power_preference`](Self::power_preference) | `WGPU_POWER_PREF` | high performance |
///
/// OpenGL is used only when `backends` or `WGPU_BACKEND` names it: wgpu supports it second-best.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuOptions {
    name: Option<String>,
    backends: Option<Backends>,
    power_preference: Option<PowerPreference>,
}

impl GpuOptions {
    /// No wishes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only adapters whose name contains `name`, upper or lower case alike; an empty name is no wish.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into()).filter(|name| !name.is_empty());
        self
    }

    /// Only adapters of these backends.
    #[must_use]
    pub fn backends(mut self, backends: Backends) -> Self {
        self.backends = Some(backends);
        self
    }

    /// Which adapters come first.
    #[must_use]
    pub fn power_preference(mut self, power_preference: PowerPreference) -> Self {
        self.power_preference = Some(power_preference);
        self
    }

    /// The options with the environment filled in where they are open.
    fn with_env(&self) -> Self {
        // An empty variable is one that nobody set on purpose.
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let backends = || variable("WGPU_BACKEND").map(|list| Backends::from_comma_list(&list));
        let power_preference = || {
            let (value, preference) = (variable("WGPU_POWER_PREF")?, PowerPreference::from_env());
            if preference.is_none() {
                log::warn!("WGPU_POWER_PREF is {value:?}, which is none of low, high and none");
            }
            preference
        };
        Self {
            name: self.name.clone().or_else(|| variable("WGPU_ADAPTER_NAME")),
            backends: self.backends.or_else(backends).or(Some(Backends::PRIMARY)),
            power_preference: self.power_preference.or_else(power_preference),
        }
    }

    /// Whether the user, by option or environment, named an adapter.
    fn names_adapter(&self) -> bool {
        self.name.is_some()
    }
}

/// What was wanted, for an error.
impl std::fmt::Display for GpuOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Backends that this platform cannot have would only distract.
        let backends = self.backends.unwrap_or(Backends::PRIMARY) & wgpu::Instance::enabled_backend_features();
        let names: Vec<String> = backends.iter_names().map(|(name, _)| name.to_lowercase()).collect();
        if names.is_empty() {
            return write!(f, "for the chosen backends, of which this build or system has none (WGPU_BACKEND?)");
        }
        write!(f, "for the backends {}", names.join(", "))?;
        match &self.name {
            Some(name) => write!(f, " with {name:?} in its name"),
            None => Ok(()),
        }
    }
}

/// An adapter that was chosen, and why.
pub(crate) struct Chosen {
    pub(crate) adapter: wgpu::Adapter,
    pub(crate) reason: String,
}

/// Whether the adapter computes on a CPU (lavapipe, SwiftShader, WARP).
pub(crate) fn is_software(info: &AdapterInfo) -> bool {
    info.device_type == DeviceType::Cpu
}

/// "NVIDIA H200 (Vulkan, discrete GPU)".
pub(crate) fn describe(info: &AdapterInfo) -> String {
    let kind = match info.device_type {
        DeviceType::DiscreteGpu => "discrete GPU",
        DeviceType::IntegratedGpu => "integrated GPU",
        DeviceType::VirtualGpu => "virtual GPU",
        DeviceType::Cpu => "software",
        DeviceType::Other => "GPU of unknown kind",
    };
    format!("{} ({}, {kind})", info.name, info.backend)
}

/// The instance of all our devices with these backends: wgpu tells objects of another device by their instance, and takes those of
/// another instance for its own.
#[cfg(not(target_arch = "wasm32"))]
fn instance(backends: Backends) -> wgpu::Instance {
    static INSTANCES: Mutex<Vec<(Backends, wgpu::Instance)>> = Mutex::new(Vec::new());
    let mut instances = INSTANCES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, instance)) = instances.iter().find(|(of, _)| *of == backends) {
        return instance.clone();
    }
    let instance = new_instance(backends);
    instances.push((backends, instance.clone()));
    instance
}

/// A browser has one for all.
#[cfg(target_arch = "wasm32")]
fn instance(backends: Backends) -> wgpu::Instance {
    new_instance(backends)
}

fn new_instance(backends: Backends) -> wgpu::Instance {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    wgpu::Instance::new(wgpu::InstanceDescriptor { backends, ..descriptor })
}

/// All adapters of `backends` that have compute shaders; a browser gives the one that it prefers.
pub(crate) async fn enumerate(backends: Backends, preference: PowerPreference) -> Vec<wgpu::Adapter> {
    let instance = instance(backends);
    #[cfg(not(target_arch = "wasm32"))]
    let (mut adapters, _) = (instance.enumerate_adapters(backends).await, preference);
    #[cfg(target_arch = "wasm32")]
    let mut adapters: Vec<_> = {
        let options = wgpu::RequestAdapterOptions { power_preference: preference, ..Default::default() };
        instance.request_adapter(&options).await.into_iter().collect()
    };
    adapters.retain(|a| a.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS));
    adapters
}

/// Lower is better.
fn rank(info: &AdapterInfo, preference: PowerPreference) -> u32 {
    let by_power = match (info.device_type, preference) {
        (DeviceType::DiscreteGpu, PowerPreference::LowPower) => 1,
        (DeviceType::IntegratedGpu, PowerPreference::LowPower) => 0,
        (DeviceType::DiscreteGpu, _) => 0,
        (DeviceType::IntegratedGpu, _) => 1,
        (DeviceType::VirtualGpu, _) => 2,
        (DeviceType::Other, _) => 3,
        (DeviceType::Cpu, _) => 4,
    };
    // One GPU is often there under several backends; the native one of the system comes first.
    by_power * 2 + u32::from(info.backend == wgpu::Backend::Gl)
}

/// The best adapter that fits `options`, a software adapter if there is nothing else.
pub(crate) async fn choose(options: &GpuOptions) -> Result<Chosen> {
    let options = options.with_env();
    let preference = options.power_preference.unwrap_or_default();
    let adapters = enumerate(options.backends.unwrap_or(Backends::PRIMARY), preference).await;
    let wanted = options.name.as_deref().unwrap_or_default().to_lowercase();
    let mut fitting: Vec<&wgpu::Adapter> =
        adapters.iter().filter(|a| a.get_info().name.to_lowercase().contains(&wanted)).collect();
    // Stable: adapters of one rank stay in the driver's order.
    fitting.sort_by_key(|a| rank(&a.get_info(), preference));
    let Some(&best) = fitting.first() else {
        let found = adapters.iter().map(|a| describe(&a.get_info())).collect();
        return Err(Error::NoAdapter { wanted: options.to_string(), found });
    };
    let reason = match (options.names_adapter(), is_software(&best.get_info())) {
        (true, _) => format!("its name contains {wanted:?}"),
        (false, true) => "no real GPU was found, and a GPU was asked for".to_owned(),
        (false, false) => format!("the best of {} adapter(s)", adapters.len()),
    };
    Ok(Chosen { adapter: best.clone(), reason })
}

/// The best real GPU, or a software adapter that the environment names; else the reason why there is none.
pub(crate) async fn choose_real() -> Result<Chosen, String> {
    let named = GpuOptions::new().with_env().names_adapter();
    match choose(&GpuOptions::new()).await {
        Ok(chosen) if named || !is_software(&chosen.adapter.get_info()) => Ok(chosen),
        Ok(chosen) => Err(format!("the only adapter is a software one, {}", describe(&chosen.adapter.get_info()))),
        Err(error) => Err(error.to_string()),
    }
}
