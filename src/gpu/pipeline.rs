//! Compiled kernels, each made once for a device.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::cell_kind::CellKind;
use crate::gpu::guarded::GuardedDevice;
use crate::gpu::kernels::{self, Access, Parameter};
use crate::gpu::shader;
use crate::plan::kernel::Kernel;
use crate::plan::project::ProjectTile;
use crate::plan::sequence::SequenceTile;
use crate::plan::step::StepTile;
use crate::precision::Precision;
use crate::{Error, Result};

/// All that the machine code of a kernel depends on: its sources (by kernel and cell) and its override constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PipelineKey {
    pub(crate) kernel: Kernel,
    pub(crate) cell: CellKind,
    pub(crate) precision: Precision,
    /// Whether its dispatches are over several layers.
    pub(crate) wave: bool,
    pub(crate) constants: Constants,
}

/// What a kernel is specialised for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Constants {
    None,
    Project { tile: ProjectTile, dropout: bool },
    Step { tile: StepTile, projected: bool },
    Sequence(SequenceTile),
}

impl Constants {
    /// The override constants by name, in the order of their declarations.
    pub(crate) fn overrides(self) -> Vec<(&'static str, f64)> {
        let with = |name, flag: bool, of_tile: Vec<(&'static str, u32)>| {
            let of_tile = of_tile.into_iter().map(|(name, value)| (name, f64::from(value)));
            std::iter::once((name, f64::from(u8::from(flag)))).chain(of_tile).collect()
        };
        match self {
            Self::None => Vec::new(),
            Self::Project { tile, dropout } => with("DROPOUT", dropout, tile.overrides()),
            // A sequence is never projected.
            Self::Sequence(SequenceTile { units, split, held }) => vec![
                ("PROJECTED", 0.0),
                ("UNITS", units.into()),
                ("SPLIT", split.into()),
                ("HELD", f64::from(u8::from(held))),
            ],
            Self::Step { tile, projected } => with("PROJECTED", projected, tile.overrides()),
        }
    }
}

/// A compiled kernel with the layouts of its two groups.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    storage: wgpu::BindGroupLayout,
    params: wgpu::BindGroupLayout,
    label: String,
}

#[derive(Debug, Default)]
pub(crate) struct Pipelines(Mutex<Compiled>);

#[derive(Debug, Default)]
struct Compiled {
    kernels: HashMap<PipelineKey, Arc<Pipeline>>,
    /// Whether any was asked for; it may be under way.
    started: bool,
    /// The caller's, whose data outlives the program.
    cache: Option<wgpu::PipelineCache>,
}

impl Pipelines {
    /// Kernels are compiled through `cache` from now on. What is compiled already would be missing in its data, which nobody
    /// would notice but by slow starts.
    pub(crate) fn set_cache(&self, cache: wgpu::PipelineCache) -> Result<()> {
        let mut compiled = self.0.lock();
        if compiled.started {
            return Err(Error::Unsupported {
                what: "a pipeline cache on a device that has compiled kernels".to_owned(),
                why: "they would be missing in it; set it before the first model runs".to_owned(),
            });
        }
        compiled.cache = Some(cache);
        Ok(())
    }

    /// The pipeline for `key`, compiled on first use. Two threads that ask at the same time may both compile; one result
    /// stays.
    pub(crate) async fn get(&self, gpu: &GuardedDevice, key: PipelineKey) -> Result<Arc<Pipeline>> {
        let (known, cache) = {
            let mut compiled = self.0.lock();
            compiled.started = true;
            (compiled.kernels.get(&key).cloned(), compiled.cache.clone())
        };
        if let Some(pipeline) = known {
            return Ok(pipeline);
        }
        let compile = || Pipeline::compile(&gpu.device, key, cache.as_ref());
        let pipeline = Arc::new(gpu.scoped("compiling a kernel", compile).await?);
        Ok(Arc::clone(self.0.lock().kernels.entry(key).or_insert(pipeline)))
    }
}

impl Pipeline {
    fn compile(device: &wgpu::Device, key: PipelineKey, cache: Option<&wgpu::PipelineCache>) -> Self {
        let entry_point = shader::entry_point(key.kernel);
        let label = format!("wgpu-rnn {} {entry_point}", key.cell.name());
        let storage: Vec<_> =
            kernels::storage_access(key.kernel.role(), key.cell).into_iter().map(storage_binding).collect();
        let params = kernels::parameters(key.kernel, key.wave).map(parameter_binding).collect();
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
            source: wgpu::ShaderSource::Wgsl(shader::source(key.kernel, key.cell, key.precision, key.wave).into()),
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&label),
            bind_group_layouts: &[Some(&storage), Some(&params)],
            immediate_size: 0,
        });
        let constants = key.constants.overrides();
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(entry_point),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                // Every kernel writes its workgroup memory before it reads it; zeroing costs more than a small step.
                zero_initialize_workgroup_memory: false,
            },
            cache,
        });
        Self { pipeline, storage, params, label }
    }

    /// Binds a layer's buffers, in the order of the bindings.
    pub(crate) fn bind_storage(&self, device: &wgpu::Device, buffers: Vec<wgpu::BufferBinding<'_>>) -> wgpu::BindGroup {
        let entries: Vec<_> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(buffer) })
            .collect();
        device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&self.label),
            layout: &self.storage,
            entries: &entries,
        })
    }

    /// Binds the parameters of `kernel`; dynamic offsets choose among the blocks.
    pub(crate) fn bind_params(
        &self,
        device: &wgpu::Device,
        kernel: Kernel,
        wave: bool,
        blocks: &wgpu::Buffer,
        call: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        let resource = |parameter: Parameter| match parameter {
            Parameter::Block(bytes) => {
                wgpu::BufferBinding { buffer: blocks, offset: 0, size: NonZeroU64::new(bytes as u64) }
            }
            Parameter::Call => call.as_entire_buffer_binding(),
        };
        let entries: Vec<_> = (0..)
            .zip(kernels::parameters(kernel, wave))
            .map(|(binding, parameter)| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(resource(parameter)),
            })
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
