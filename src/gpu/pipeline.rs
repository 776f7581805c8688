//! Compiled kernels, each compiled once per device.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::gpu::arrays::BufferRange;
use crate::gpu::guarded::GuardedDevice;
use crate::gpu::shader;
use crate::plan::kernel::{Access, Parameter, PipelineKey};

/// A compiled kernel with the layouts of its two bind groups.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    storage: wgpu::BindGroupLayout,
    params: wgpu::BindGroupLayout,
    parameters: Vec<Parameter>,
    label: String,
}

#[derive(Debug, Default)]
pub(crate) struct Pipelines(Mutex<Compiled>);

#[derive(Debug, Default)]
struct Compiled {
    kernels: HashMap<PipelineKey, Arc<Pipeline>>,
    /// True once any kernel has been requested; it may still be compiling.
    started: bool,
    /// The caller's cache, whose data outlives the program.
    cache: Option<wgpu::PipelineCache>,
}

impl Pipelines {
    /// Sets the cache through which kernels are compiled from now on. Kernels compiled earlier would be missing from
    /// its data, which would show only as slow starts.
    pub(crate) fn set_cache(&self, cache: wgpu::PipelineCache) -> Result<()> {
        let mut compiled = self.0.lock();
        if compiled.started {
            return Err(Error::Unsupported {
                what: "a pipeline cache on a device that has compiled kernels".to_owned(),
                why: "they would be missing from it; set it before the first model runs".to_owned(),
            });
        }
        compiled.cache = Some(cache);
        Ok(())
    }

    /// Returns the pipeline for `key`, compiling it on first use. Two threads that request it at the same time may both
    /// compile it; one result is kept.
    pub(crate) async fn get(&self, gpu: &GuardedDevice, key: &PipelineKey) -> Result<Arc<Pipeline>> {
        let (known, cache) = {
            let mut compiled = self.0.lock();
            compiled.started = true;
            (compiled.kernels.get(key).cloned(), compiled.cache.clone())
        };
        if let Some(pipeline) = known {
            return Ok(pipeline);
        }
        let compile = || Pipeline::compile(&gpu.device, key, cache.as_ref());
        let pipeline = Arc::new(gpu.scoped("compiling a kernel", compile).await?);
        Ok(Arc::clone(self.0.lock().kernels.entry(key.clone()).or_insert(pipeline)))
    }
}

impl Pipeline {
    fn compile(device: &wgpu::Device, key: &PipelineKey, cache: Option<&wgpu::PipelineCache>) -> Self {
        let sources = key.sources;
        let entry_point = shader::entry_point(sources.kernel);
        let label = format!("wgpu-rnn {} {entry_point}", sources.cell.name());
        let storage: Vec<_> = sources.storage_access().into_iter().map(storage_binding).collect();
        let parameters: Vec<Parameter> = sources.parameters().collect();
        let params = parameters.iter().copied().map(parameter_binding).collect();
        let layout = |name: &str, types: Vec<wgpu::BindingType>| {
            let entries: Vec<_> = (0..).zip(types).map(|(binding, ty)| layout_entry(binding, ty)).collect();
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(&format!("{label} {name}")),
                entries: &entries,
            })
        };
        let (storage, params) = (layout("buffers", storage), layout("parameters", params));
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(&label),
            source: wgpu::ShaderSource::Wgsl(sources.compose().into()),
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&label),
            bind_group_layouts: &[Some(&storage), Some(&params)],
            immediate_size: 0,
        });
        let constants: Vec<_> = key.constants.iter().map(|&(name, value)| (name, f64::from(value))).collect();
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(entry_point),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                // Every kernel writes its workgroup memory before reading it; zeroing takes longer than a small step.
                zero_initialize_workgroup_memory: false,
            },
            cache,
        });
        Self { pipeline, storage, params, parameters, label }
    }

    /// Binds arrays, in the order of the bindings.
    pub(crate) fn bind_storage(&self, device: &wgpu::Device, arrays: &[&BufferRange]) -> wgpu::BindGroup {
        let entries: Vec<_> = (0..)
            .zip(arrays)
            .map(|(binding, array)| wgpu::BindGroupEntry { binding, resource: array.binding() })
            .collect();
        device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&self.label),
            layout: &self.storage,
            entries: &entries,
        })
    }

    /// Binds the parameters; dynamic offsets select the blocks.
    pub(crate) fn bind_params(
        &self,
        device: &wgpu::Device,
        blocks: &BufferRange,
        call: Option<&BufferRange>,
    ) -> wgpu::BindGroup {
        // One block of each size, at the start of the buffer.
        let parts = self.parameters.iter().filter_map(|parameter| match parameter {
            Parameter::Block(bytes) => Some(blocks.first(*bytes as u64)),
            Parameter::Call => call.cloned(),
        });
        let parts: Vec<_> = parts.collect();
        let entries: Vec<_> = (0..)
            .zip(&parts)
            .map(|(binding, part)| wgpu::BindGroupEntry { binding, resource: part.binding() })
            .collect();
        device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&self.label),
            layout: &self.params,
            entries: &entries,
        })
    }
}

fn layout_entry(binding: u32, ty: wgpu::BindingType) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry { binding, visibility: wgpu::ShaderStages::COMPUTE, ty, count: None }
}

fn storage_binding(access: Access) -> wgpu::BindingType {
    wgpu::BindingType::Buffer {
        ty: wgpu::BufferBindingType::Storage { read_only: access == Access::Read },
        has_dynamic_offset: false,
        min_binding_size: None,
    }
}

fn parameter_binding(parameter: Parameter) -> wgpu::BindingType {
    match parameter {
        Parameter::Block(bytes) => wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Uniform,
            has_dynamic_offset: true,
            min_binding_size: NonZeroU64::new(bytes as u64),
        },
        Parameter::Call => storage_binding(Access::Read),
    }
}
