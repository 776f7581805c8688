//! Finding and choosing an adapter.

use wgpu::{AdapterInfo, Backends, DeviceType, PowerPreference};

use crate::error::{Error, Result};
use crate::gpu::instance;

/// How a GPU is chosen. What is left open is taken from wgpu's environment variables, and then by rank: real GPUs
/// before software adapters, dedicated before integrated ones (the other way round for `PowerPreference::LowPower`).
///
/// | option | environment variable | else |
/// |---|---|---|
/// | [`with_name`](Self::with_name) | `WGPU_ADAPTER_NAME` | any |
/// | [`with_pci_bus_id`](Self::with_pci_bus_id) | | any |
/// | [`with_backends`](Self::with_backends) | `WGPU_BACKEND` | Vulkan, Metal, DX12, WebGPU |
/// | [`with_power_preference`](Self::with_power_preference) | `WGPU_POWER_PREF` | high performance |
///
/// OpenGL is used only when `with_backends` or `WGPU_BACKEND` names it: wgpu supports it second-best. All OpenGL
/// devices of a process share one context and take turns.
///
/// [`Device::gpu`](crate::Device::gpu) opens a device and blocks; [`open`](Self::open) and
/// [`open_or_cpu`](Self::open_or_cpu) are for `async` code, and for the browser, where nothing may block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuOptions {
    name: Option<String>,
    pci_bus_id: Option<String>,
    backends: Option<Backends>,
    power_preference: Option<PowerPreference>,
}

impl GpuOptions {
    /// Returns options that leave everything open.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes only adapters whose name contains `name`, regardless of case; an empty name leaves it open.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into()).filter(|name| !name.is_empty());
        self
    }

    /// Takes only the GPU at this address of the PCI bus, which tells apart GPUs of the same name: `"0000:01:00.0"`, as
    /// in [`AdapterInfo::device_pci_bus_id`]; `lspci`'s form without the domain and `nvidia-smi`'s with eight digits of
    /// it are understood as well. An empty string leaves it open. Vulkan and DX12 tell the address, but DX12 only one
    /// for all GPUs of a model.
    ///
    /// ```no_run
    /// use wgpu_rnn::{Device, GpuOptions};
    ///
    /// let second = Device::gpu(&GpuOptions::new().with_pci_bus_id("0000:41:00.0"))?;
    /// # Ok::<(), wgpu_rnn::Error>(())
    /// ```
    #[must_use]
    pub fn with_pci_bus_id(mut self, id: impl Into<String>) -> Self {
        self.pci_bus_id = Some(id.into()).filter(|id| !id.is_empty());
        self
    }

    /// Takes only adapters of these backends.
    #[must_use]
    pub fn with_backends(mut self, backends: Backends) -> Self {
        self.backends = Some(backends);
        self
    }

    /// Sets which adapters come first.
    #[must_use]
    pub fn with_power_preference(mut self, power_preference: PowerPreference) -> Self {
        self.power_preference = Some(power_preference);
        self
    }

    /// Returns the options with the environment filled in where they are open.
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
            pci_bus_id: self.pci_bus_id.clone(),
            backends: self.backends.or_else(backends).or(Some(Backends::PRIMARY)),
            power_preference: self.power_preference.or_else(power_preference),
        }
    }

    /// Whether one adapter is meant, so that a software adapter is taken like any other.
    fn names_adapter(&self) -> bool {
        self.name.is_some() || self.pci_bus_id.is_some()
    }

    fn fits(&self, info: &AdapterInfo) -> bool {
        let named = |name: &String| info.name.to_lowercase().contains(&name.to_lowercase());
        let at =
            |id: &String| pci_address(id).is_some_and(|wanted| pci_address(&info.device_pci_bus_id) == Some(wanted));
        self.name.as_ref().is_none_or(named) && self.pci_bus_id.as_ref().is_none_or(at)
    }
}

/// Describes what was wanted, for an error.
impl std::fmt::Display for GpuOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Backends that this platform cannot have would only distract.
        let backends = self.backends.unwrap_or(Backends::PRIMARY) & wgpu::Instance::enabled_backend_features();
        let names: Vec<String> = backends.iter_names().map(|(name, _)| name.to_lowercase()).collect();
        if names.is_empty() {
            return write!(f, "for the chosen backends, of which this build or system has none (WGPU_BACKEND?)");
        }
        write!(f, "for the backends {}", names.join(", "))?;
        if let Some(name) = &self.name {
            write!(f, " with {name:?} in its name")?;
        }
        match &self.pci_bus_id {
            Some(id) if pci_address(id).is_none() => {
                write!(f, " at PCI bus id {id:?}, which is not of the form \"0000:01:00.0\"")
            }
            Some(id) => write!(f, " at PCI bus id {id}"),
            None => Ok(()),
        }
    }
}

/// Parses domain, bus, device and function of a PCI bus id, all in hexadecimal digits.
fn pci_address(id: &str) -> Option<[u32; 4]> {
    let (address, function) = id.trim().rsplit_once('.')?;
    let mut parts = address.rsplit(':');
    let (device, bus, domain) = (parts.next()?, parts.next()?, parts.next().unwrap_or("0"));
    let number = |digits: &str| u32::from_str_radix(digits, 16).ok();
    let address = [number(domain)?, number(bus)?, number(device)?, number(function)?];
    parts.next().is_none().then_some(address)
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

/// The adapters that were found for some options.
struct Found {
    /// With the environment filled in.
    options: GpuOptions,
    /// Best first.
    fitting: Vec<(AdapterInfo, wgpu::Adapter)>,
    /// All of the backends, in words.
    all: Vec<String>,
}

impl Found {
    async fn new(options: &GpuOptions) -> Self {
        let options = options.with_env();
        let preference = options.power_preference.unwrap_or_default();
        let adapters = instance::adapters(options.backends.unwrap_or(Backends::PRIMARY), preference).await;
        let adapters = adapters.into_iter().map(|adapter| (adapter.get_info(), adapter));
        let (mut fitting, mut all) = (Vec::new(), Vec::new());
        for (info, adapter) in adapters {
            let at = if info.device_pci_bus_id.is_empty() { "" } else { " at " };
            all.push(format!("{}{at}{}", describe(&info), info.device_pci_bus_id));
            if options.fits(&info) {
                fitting.push((info, adapter));
            }
        }
        // Stable: adapters of one rank stay in the driver's order.
        fitting.sort_by_key(|(info, _)| rank(info, preference));
        Self { options, fitting, all }
    }

    fn reason(&self, info: &AdapterInfo) -> String {
        match (&self.options.name, &self.options.pci_bus_id) {
            (None, None) if is_software(info) => "no real GPU was found, and a GPU was asked for".to_owned(),
            (None, None) => format!("the best of {} adapter(s)", self.all.len()),
            (Some(name), None) => format!("its name contains {:?}", name.to_lowercase()),
            (_, Some(id)) => format!("it is at PCI bus id {id}"),
        }
    }

    fn none(self, except: &str) -> Error {
        Error::NoAdapter { wanted: format!("{}{except}", self.options), found: self.all }
    }
}

/// Chooses the best adapter that fits `options`, a software adapter if there is nothing else.
pub(crate) async fn choose(options: &GpuOptions) -> Result<Chosen> {
    let found = Found::new(options).await;
    match found.fitting.first() {
        Some((info, adapter)) => Ok(Chosen { adapter: adapter.clone(), reason: found.reason(info) }),
        None => Err(found.none("")),
    }
}

/// Chooses the best real GPU that fits `options`, or a software adapter that they or the environment name; else returns
/// the reason why there is none.
pub(crate) async fn choose_real(options: &GpuOptions) -> Result<Chosen, String> {
    let found = Found::new(options).await;
    match found.fitting.first() {
        Some((info, adapter)) if found.options.names_adapter() || !is_software(info) => {
            Ok(Chosen { adapter: adapter.clone(), reason: found.reason(info) })
        }
        Some((info, _)) => Err(format!("the only adapter is a software one, {}", describe(info))),
        None => Err(found.none("").to_string()),
    }
}

/// Chooses every real GPU once, and software adapters that the environment names.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) async fn choose_all() -> Result<Vec<Chosen>> {
    let found = Found::new(&GpuOptions::new()).await;
    let mut taken: Vec<&(AdapterInfo, wgpu::Adapter)> = Vec::new();
    for candidate in &found.fitting {
        let is_wanted = found.options.names_adapter() || !is_software(&candidate.0);
        if is_wanted && !taken.iter().any(|(info, _)| is_same_gpu(info, &candidate.0)) {
            taken.push(candidate);
        }
    }
    if taken.is_empty() {
        return Err(found.none(", software adapters aside"));
    }
    let count = taken.len();
    let chosen = |(at, (_, adapter)): (usize, &&(AdapterInfo, wgpu::Adapter))| Chosen {
        adapter: adapter.clone(),
        reason: format!("GPU {} of {count}", at + 1),
    };
    Ok(taken.iter().enumerate().map(chosen).collect())
}

/// Whether two adapters of different backends are one GPU. Two of one backend never are.
#[cfg(not(target_arch = "wasm32"))]
fn is_same_gpu(a: &AdapterInfo, b: &AdapterInfo) -> bool {
    if a.backend == b.backend {
        return false;
    }
    match (pci_address(&a.device_pci_bus_id), pci_address(&b.device_pci_bus_id)) {
        (Some(a), Some(b)) => a == b,
        // OpenGL does not tell which device of a vendor it runs on.
        _ => a.vendor == b.vendor && (a.device == b.device || a.device == 0 || b.device == 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(bus_id: &str, backend: wgpu::Backend, device: u32) -> AdapterInfo {
        let info = AdapterInfo::new(DeviceType::DiscreteGpu, backend);
        AdapterInfo { vendor: 0x10de, device, device_pci_bus_id: bus_id.to_owned(), ..info }
    }

    #[test]
    fn a_pci_bus_id_is_understood_in_the_forms_that_tools_print() {
        let info = gpu("0000:41:00.0", wgpu::Backend::Vulkan, 1);
        let fits = |id: &str| GpuOptions::new().with_pci_bus_id(id).fits(&info);
        for id in ["0000:41:00.0", "41:00.0", "00000000:41:00.0", " 0000:41:00.0\n", ""] {
            assert!(fits(id), "{id:?}");
        }
        for id in ["0000:42:00.0", "0001:41:00.0", "0000:41:00.1", "0000:41:01.0", "41", "0:0000:41:00.0", "4g:00.0"] {
            assert!(!fits(id), "{id:?}");
        }
        // An adapter that tells no address is at none.
        assert!(!GpuOptions::new().with_pci_bus_id("nonsense").fits(&gpu("", wgpu::Backend::Vulkan, 1)));
    }

    #[test]
    fn a_gpu_of_two_backends_is_one_and_two_of_a_model_are_two() {
        use wgpu::Backend::{Dx12, Gl, Vulkan};
        let (first, second) = (gpu("0000:01:00.0", Vulkan, 7), gpu("0000:02:00.0", Vulkan, 7));
        assert!(!is_same_gpu(&first, &second));
        assert!(!is_same_gpu(&gpu("", Vulkan, 7), &gpu("", Vulkan, 7)));
        assert!(is_same_gpu(&first, &gpu("0000:01:00.0", Dx12, 7)));
        assert!(!is_same_gpu(&first, &gpu("0000:02:00.0", Dx12, 7)));
        assert!(is_same_gpu(&first, &gpu("", Dx12, 7)));
        assert!(!is_same_gpu(&first, &gpu("", Dx12, 8)));
        assert!(is_same_gpu(&first, &gpu("", Gl, 0)));
    }
}
