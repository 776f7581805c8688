//! A wgpu device with what the crate knows of it: limits, pipelines, and whether it is still there.

use std::sync::{Arc, OnceLock};

use crate::gpu::adapter::{self, Chosen};
use crate::gpu::pipeline::PipelineCache;
use crate::gpu::transfer;
use crate::plan::limits::DeviceLimits;
use crate::{Error, Result};

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) info: wgpu::AdapterInfo,
    pub(crate) limits: DeviceLimits,
    pub(crate) pipelines: PipelineCache,
    /// Set by the device's lost callback. A device has one such callback, so a caller's own device has none of ours;
    /// there a loss shows when a result is waited for.
    lost: Arc<OnceLock<String>>,
}

impl Context {
    /// A device of our own: with all that the adapter can hold.
    pub(crate) async fn open(chosen: &Chosen) -> Result<Self> {
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("wgpu-rnn"),
            required_limits: chosen.adapter.limits(),
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        };
        let (device, queue) = chosen.adapter.request_device(&descriptor).await.map_err(|e| Error::RequestDevice {
            adapter: adapter::describe(&chosen.adapter.get_info()),
            reason: e.to_string(),
        })?;
        let context = Self::borrow(device, queue);
        let lost = Arc::clone(&context.lost);
        context.device.set_device_lost_callback(move |reason, message| {
            // Later calls of the callback change nothing: the first reason is the cause.
            let _ = lost.set(format!("{reason:?} {message}").trim().to_owned());
        });
        Ok(context)
    }

    /// A caller's device: used as it is, its error and loss handlers untouched.
    pub(crate) fn borrow(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let (info, limits) = (device.adapter_info(), device_limits(&device.limits()));
        let pipelines = PipelineCache::default();
        Self { device, queue, info, limits, pipelines, lost: Arc::default() }
    }

    /// An error if the device is known to be gone. After a loss wgpu answers calls with misleading errors or none, so this
    /// is asked first.
    pub(crate) fn check_alive(&self, during: &'static str) -> Result<()> {
        match self.lost.get() {
            Some(reason) => Err(Error::DeviceLost { during, reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Runs wgpu calls and collects the error that any of them raised. Error scopes see the calls of this thread only, and
    /// leave the handlers of a caller's device alone.
    pub(crate) async fn scoped<T>(&self, during: &'static str, calls: impl FnOnce() -> T) -> Result<T> {
        self.check_alive(during)?;
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let value = calls();
        // All scopes end before the first await: a guard belongs to this thread.
        let errors = [validation.pop(), internal.pop(), memory.pop()];
        for error in errors {
            if let Some(error) = error.await {
                // A call on a lost device is refused for other reasons; a poll delivers the news of the loss.
                transfer::poll_once(&self.device);
                self.check_alive(during)?;
                let message = error.to_string();
                return Err(match error {
                    wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory { during, message },
                    _ => Error::Gpu { during, message },
                });
            }
        }
        Ok(value)
    }

    /// The loss of the device, seen as a failed wait or mapping; later calls will report the same.
    pub(crate) fn lost_error(&self, during: &'static str, reason: String) -> Error {
        Error::DeviceLost { during, reason: self.lost.get_or_init(|| reason).clone() }
    }
}

fn device_limits(limits: &wgpu::Limits) -> DeviceLimits {
    DeviceLimits {
        storage_binding: limits.max_storage_buffer_binding_size,
        buffer: limits.max_buffer_size,
        groups_per_dimension: limits.max_compute_workgroups_per_dimension,
        workgroup_storage: limits.max_compute_workgroup_storage_size,
        workgroup_invocations: limits.max_compute_invocations_per_workgroup,
        workgroup_size: [
            limits.max_compute_workgroup_size_x,
            limits.max_compute_workgroup_size_y,
            limits.max_compute_workgroup_size_z,
        ],
        storage_buffers: limits.max_storage_buffers_per_shader_stage,
        uniform_alignment: limits.min_uniform_buffer_offset_alignment,
    }
}
