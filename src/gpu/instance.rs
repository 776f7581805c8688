//! The wgpu instances of the process, and the adapters that they find.

use wgpu::{Backends, PowerPreference};

/// Returns all adapters of `backends` that have compute shaders; a browser gives the one that it prefers.
pub(crate) async fn adapters(backends: Backends, preference: PowerPreference) -> Vec<wgpu::Adapter> {
    let mut adapters = all_adapters(backends, preference).await;
    adapters.retain(|a| a.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS));
    adapters
}

#[cfg(not(target_arch = "wasm32"))]
async fn all_adapters(backends: Backends, _: PowerPreference) -> Vec<wgpu::Adapter> {
    // Backends that this build or system cannot have would only be other names for the same set.
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

/// Returns the instance of all our devices with these backends. wgpu numbers the objects of each instance on their own,
/// and takes an object of another instance for one of its own that has the same number; within an instance it knows a
/// device's objects.
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

/// Returns the adapters of OpenGL, which are looked for once in a process. An instance has one EGL context, which only
/// one thread may use at a time, and each adapter guards it with a lock of its own: two adapters of one instance panic
/// where two threads use them (wgpu-hal's `BadAccess`). All devices of one adapter share its lock, and know each
/// other's buffers as well.
#[cfg(not(target_arch = "wasm32"))]
fn gl_adapters() -> &'static [wgpu::Adapter] {
    static ADAPTERS: std::sync::OnceLock<Vec<wgpu::Adapter>> = std::sync::OnceLock::new();
    // wgpu answers at once here, so that nothing is waited for while others wait for this.
    ADAPTERS.get_or_init(|| pollster::block_on(new_instance(Backends::GL).enumerate_adapters(Backends::GL)))
}

/// Without WebGPU in the browser, wgpu would have no backend, and panics.
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
