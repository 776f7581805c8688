//! The wgpu instances of the process, and the adapters that they find.

use wgpu::{Backends, PowerPreference};

/// Returns all adapters of `backends` that have compute shaders; in a browser, only the one that it prefers.
pub(crate) async fn adapters(backends: Backends, preference: PowerPreference) -> Vec<wgpu::Adapter> {
    let mut adapters = all_adapters(backends, preference).await;
    adapters.retain(|a| a.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS));
    adapters
}

#[cfg(not(target_arch = "wasm32"))]
async fn all_adapters(backends: Backends, _: PowerPreference) -> Vec<wgpu::Adapter> {
    // Backends that this build or system cannot have would only give the same set another key.
    let backends = backends & wgpu::Instance::enabled_backend_features();
    let (gl, others) = (backends & Backends::GL, backends - Backends::GL);
    let mut adapters = Vec::new();
    if !others.is_empty() {
        adapters = shared_instance(others).enumerate_adapters(others).await;
    }
    if !gl.is_empty() {
        adapters.extend_from_slice(gl_adapters());
    }
    adapters
}

/// Returns the instance shared by all of the crate's devices with these backends. wgpu numbers the objects of each
/// instance separately and mistakes an object of another instance for its own object of the same number; within one
/// instance, it can tell devices' objects apart.
#[cfg(not(target_arch = "wasm32"))]
fn shared_instance(backends: Backends) -> wgpu::Instance {
    use parking_lot::Mutex;
    static INSTANCES: Mutex<Vec<(Backends, wgpu::Instance)>> = Mutex::new(Vec::new());
    let mut instances = INSTANCES.lock();
    if let Some((_, instance)) = instances.iter().find(|(of, _)| *of == backends) {
        return instance.clone();
    }
    let instance = new_instance(backends);
    instances.push((backends, instance.clone()));
    instance
}

/// Returns the adapters of OpenGL, which are enumerated once per process. An instance has one EGL context, which only
/// one thread may use at a time, and each adapter guards it with its own lock: two adapters of one instance panic when
/// two threads use them (wgpu-hal's `BadAccess`). All devices of one adapter share its lock, and can tell each
/// other's buffers apart.
#[cfg(not(target_arch = "wasm32"))]
fn gl_adapters() -> &'static [wgpu::Adapter] {
    static ADAPTERS: std::sync::OnceLock<Vec<wgpu::Adapter>> = std::sync::OnceLock::new();
    // wgpu answers immediately here, so this does not wait for anything while other threads wait for it.
    ADAPTERS.get_or_init(|| pollster::block_on(new_instance(Backends::GL).enumerate_adapters(Backends::GL)))
}

/// Returns the adapter that the browser prefers. Without WebGPU in the browser, wgpu would have no backend and panic.
#[cfg(target_arch = "wasm32")]
async fn all_adapters(backends: Backends, preference: PowerPreference) -> Vec<wgpu::Adapter> {
    if !backends.contains(Backends::BROWSER_WEBGPU) || !wgpu::util::is_browser_webgpu_supported().await {
        return Vec::new();
    }
    let options = wgpu::RequestAdapterOptions { power_preference: preference, ..Default::default() };
    new_instance(Backends::BROWSER_WEBGPU).request_adapter(&options).await.into_iter().collect()
}

fn new_instance(backends: Backends) -> wgpu::Instance {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    wgpu::Instance::new(wgpu::InstanceDescriptor { backends, ..descriptor })
}
