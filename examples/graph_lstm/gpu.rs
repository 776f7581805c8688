//! The model on a GPU: the whole sequence in one command encoder. The example's own kernels compute the graph
//! convolution and scale c between the steps of the crate's cell, whose state is in the example's own buffers.

use anyhow::Result;
use wgpu_rnn::wgpu::{self, BufferUsages as Use};
use wgpu_rnn::{Device, LstmCellBuffers, Tensor};

use crate::Run;
use crate::model::GraphLstm;

pub fn run(
    model: &GraphLstm,
    place: &Device,
    (device, queue): (&wgpu::Device, &wgpu::Queue),
    x: &Tensor,
) -> Result<Run> {
    let cell = model.cell.to(place)?;
    let (steps, batch) = (x.shape()[0], x.shape()[1]);
    let (roads, features) = (model.roads, model.hops * model.roads);

    // Features and h of each step are ranges of one buffer each, whose offsets must be aligned.
    let sizes = cell.buffer_sizes(batch)?;
    let alignment = u64::from(device.limits().min_storage_buffer_offset_alignment);
    let [features_stride, h_stride] = [sizes.input, sizes.h].map(|bytes| bytes.next_multiple_of(alignment));
    let buffer = |label, size: u64, usage| {
        device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false })
    };
    let filled = |label, data: &[f32]| {
        let buffer = buffer(label, size_of_val(data) as u64, Use::STORAGE | Use::COPY_DST);
        queue.write_buffer(&buffer, 0, bytemuck::cast_slice(data));
        buffer
    };
    let (congestion, filters) = (filled("congestion", x.data()), filled("filters", &model.filters));
    let neighbors = filled("neighbors", &model.neighbors);
    let graph_features = buffer("features", steps as u64 * features_stride, Use::STORAGE);
    let state = Use::STORAGE | Use::COPY_DST | Use::COPY_SRC;
    let h = buffer("h of all steps", steps as u64 * h_stride, state);
    let c = buffer("c", sizes.h, state);
    let readback = buffer("readback", h.size() + c.size(), Use::MAP_READ | Use::COPY_DST);

    let constants = [
        ("ROADS", roads as f64),
        ("FEATURES", features as f64),
        ("BATCH", batch as f64),
        ("STEP", (features_stride / 4) as f64),
    ];
    let convolve = Kernel::new(device, "graph_convolution", &constants, &[&congestion, &filters, &graph_features], 0);
    let scale = Kernel::new(device, "scale_cell_state", &constants, &[&neighbors, &c], 3);

    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("an hour") });
    convolve.record(&mut encoder, [features.div_ceil(64) as u32, (steps * batch) as u32, 1]);
    let h_of = |t: u64| h.slice(t * h_stride..t * h_stride + sizes.h);
    for t in 0..steps as u64 {
        let features = graph_features.slice(t * features_stride..t * features_stride + sizes.input);
        let buffers = LstmCellBuffers::new(features, h_of(t), &c);
        let buffers = match t.checked_sub(1) {
            // The first state is zero, and scaling would leave it zero.
            None => buffers,
            Some(before) => {
                scale.record(&mut encoder, [(batch * roads).div_ceil(64) as u32, 1, 1]);
                buffers.with_initial(h_of(before), &c)
            }
        };
        cell.encode(&mut encoder, batch, &buffers)?;
    }
    encoder.copy_buffer_to_buffer(&h, 0, &readback, 0, h.size());
    encoder.copy_buffer_to_buffer(&c, 0, &readback, h.size(), c.size());
    queue.submit([encoder.finish()]);

    readback.map_async(wgpu::MapMode::Read, .., |_| {});
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let got: Vec<f32> = bytemuck::pod_collect_to_vec(&readback.get_mapped_range(..)?);
    let (h, c) = got.split_at(got.len() - batch * roads);
    let h = h.chunks_exact(h_stride as usize / 4).flat_map(|step| &step[..batch * roads]).copied().collect();
    Ok(Run { h, c: c.to_vec(), how: format!("{steps} steps in one submission") })
}

/// A kernel of the example with its bind group.
struct Kernel {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
}

impl Kernel {
    /// Binds `buffers` one after the other, starting at `first`.
    fn new(
        device: &wgpu::Device,
        entry_point: &str,
        constants: &[(&str, f64)],
        buffers: &[&wgpu::Buffer],
        first: u32,
    ) -> Self {
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry_point),
            layout: None,
            module: &device.create_shader_module(wgpu::include_wgsl!("kernels.wgsl")),
            entry_point: Some(entry_point),
            compilation_options: wgpu::PipelineCompilationOptions { constants, ..Default::default() },
            cache: None,
        });
        let entries = (first..).zip(buffers).map(|(binding, buffer)| {
            let resource = buffer.as_entire_binding();
            wgpu::BindGroupEntry { binding, resource }
        });
        let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(entry_point),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries.collect::<Vec<_>>(),
        });
        Self { pipeline, bindings }
    }

    fn record(&self, encoder: &mut wgpu::CommandEncoder, [x, y, z]: [u32; 3]) {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}
