//! What models on one device share: the device, what it can hold, and its compiled kernels.

use crate::error::{Error, Result};
use crate::gpu::adapter::{self, Chosen};
use crate::gpu::guarded::GuardedDevice;
use crate::gpu::pipeline::Pipelines;
use crate::gpu::tuned::Tuned;
use crate::plan::limits::{BindingLimits, DeviceLimits, SUBMISSION_WORK};

/// The features that are used where a device has them.
pub(crate) const OPTIONAL_FEATURES: wgpu::Features = wgpu::Features::PIPELINE_CACHE;

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) gpu: GuardedDevice,
    pub(crate) info: wgpu::AdapterInfo,
    pub(crate) limits: DeviceLimits,
    pub(crate) binding_limits: BindingLimits,
    pub(crate) pipelines: Pipelines,
    pub(crate) tuned: Tuned,
}

impl Context {
    /// A device of our own: with all that the adapter can hold.
    pub(crate) async fn open(chosen: &Chosen) -> Result<Self> {
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("wgpu-rnn"),
            required_features: chosen.adapter.features() & OPTIONAL_FEATURES,
            required_limits: chosen.adapter.limits(),
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        };
        let (device, queue) = chosen.adapter.request_device(&descriptor).await.map_err(|e| Error::RequestDevice {
            adapter: adapter::describe(&chosen.adapter.get_info()),
            reason: e.to_string(),
        })?;
        Ok(Self::over(GuardedDevice::own(device, queue)))
    }

    /// A caller's device, used as it is.
    pub(crate) fn borrow(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        Self::over(GuardedDevice::borrowed(device, queue))
    }

    /// Plans as for a real GPU, even if this is a software adapter.
    pub(crate) fn with_hardware_tiles(mut self) -> Self {
        self.limits.software = false;
        self
    }

    fn over(gpu: GuardedDevice) -> Self {
        let info = gpu.device.adapter_info();
        let limits = DeviceLimits {
            software: adapter::is_software(&info),
            submission_work: submission_work(&info),
            ..device_limits(&gpu.device.limits())
        };
        let binding_limits = binding_limits(&gpu.device.limits());
        Self { gpu, info, limits, binding_limits, pipelines: Pipelines::default(), tuned: Tuned::default() }
    }
}

fn binding_limits(limits: &wgpu::Limits) -> BindingLimits {
    BindingLimits {
        bind_groups: limits.max_bind_groups,
        bindings_per_group: limits.max_bindings_per_bind_group,
        storage_buffers: limits.max_storage_buffers_per_shader_stage,
        uniform_buffers: limits.max_uniform_buffers_per_shader_stage,
        dynamic_uniform_buffers: limits.max_dynamic_uniform_buffers_per_pipeline_layout,
        uniform_binding: limits.max_uniform_buffer_binding_size,
    }
}

/// Returns the most work of one submission. OpenGL's software adapters do the work while they take it, some 1 G
/// operations per second, and all OpenGL devices share a lock for that time, which wgpu gives up on, with a panic,
/// after six seconds.
fn submission_work(info: &wgpu::AdapterInfo) -> u64 {
    let blocks = info.backend == wgpu::Backend::Gl && adapter::is_software(info);
    if blocks { SUBMISSION_WORK / 50 } else { SUBMISSION_WORK }
}

fn device_limits(limits: &wgpu::Limits) -> DeviceLimits {
    DeviceLimits {
        // Shaders index elements with u32, and some backends (Metal) state more than 4 GiB.
        storage_binding: limits.max_storage_buffer_binding_size.min(u64::from(u32::MAX) & !3),
        buffer: limits.max_buffer_size,
        groups_per_dimension: limits.max_compute_workgroups_per_dimension,
        workgroup_storage: limits.max_compute_workgroup_storage_size,
        workgroup_invocations: limits.max_compute_invocations_per_workgroup,
        workgroup_size: [
            limits.max_compute_workgroup_size_x,
            limits.max_compute_workgroup_size_y,
            limits.max_compute_workgroup_size_z,
        ],
        uniform_alignment: limits.min_uniform_buffer_offset_alignment,
        storage_alignment: limits.min_storage_buffer_offset_alignment,
        software: false,
        uniform_binding: limits.max_uniform_buffer_binding_size,
        stacked_weights: false,
        forward_memory: u64::MAX,
        submission_work: SUBMISSION_WORK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A software adapter does some 1 G operations per second, and whoever waits for the lock gives up after six
    /// seconds.
    #[test]
    fn a_software_adapter_of_opengl_gives_its_lock_back_in_time() {
        let info = |backend| wgpu::AdapterInfo::new(wgpu::DeviceType::Cpu, backend);
        assert!(submission_work(&info(wgpu::Backend::Gl)) <= 1_000_000_000);
        assert_eq!(submission_work(&info(wgpu::Backend::Vulkan)), SUBMISSION_WORK);
    }
}
