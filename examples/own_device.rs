//! An LSTM in a program that has its own wgpu device. One command encoder holds a pass of the program, the LSTM, and
//! another pass of the program. The data stays on the device; at the end, one number per row is read back.
//!
//! cargo run --release --example own_device

use anyhow::{Context, Result, ensure};
use wgpu_rnn::wgpu::{self, BufferUsages as Use};
use wgpu_rnn::{Device, Lstm, LstmBuffers, LstmConfig, Tensor};

const TIME_STEPS: usize = 50;
const BATCH: usize = 16;
const FEATURES: usize = 4;
const HIDDEN: usize = 32;

/// Before the LSTM, raw samples [T, B, I] are squashed into ±1. After it, the outputs of each row become their mean
/// square.
const SHADERS: &str = "
@group(0) @binding(0) var<storage, read> source: array<f32>;
@group(0) @binding(1) var<storage, read_write> result: array<f32>;

@compute @workgroup_size(64)
fn squash(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < arrayLength(&result)) {
        result[id.x] = source[id.x] / (1.0 + abs(source[id.x]));
    }
}

@compute @workgroup_size(64)
fn energy(@builtin(global_invocation_id) id: vec3<u32>) {
    let rows = arrayLength(&result);
    if (id.x >= rows) {
        return;
    }
    let features = u32(HIDDEN);
    let steps = arrayLength(&source) / (rows * features);
    var sum = 0.0;
    for (var t = 0u; t < steps; t++) {
        for (var u = 0u; u < features; u++) {
            let y = source[(t * rows + id.x) * features + u];
            sum += y * y;
        }
    }
    result[id.x] = sum / f32(steps * features);
}
";

fn main() -> Result<()> {
    // The program's own instance, device and queue, which an engine or a renderer already has.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))
        .context("this example needs a GPU adapter; a software one such as lavapipe will do")?;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))?;

    let config = LstmConfig::new(FEATURES, HIDDEN).with_num_layers(2);
    let lstm = Lstm::random(config, 7)?;
    let placed = lstm.to(&Device::from_wgpu(device.clone(), queue.clone()))?;
    println!("{} on the program's own device, {}", placed.config(), placed.device());
    println!("plan: {}", placed.plan(TIME_STEPS, BATCH)?);

    let samples: Vec<f32> = (0..TIME_STEPS * BATCH * FEATURES).map(|i| 3.0 * (i as f32 * 0.11).sin()).collect();
    let buffer = |label, elements: usize, usage| {
        let size = (elements * size_of::<f32>()) as u64;
        device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false })
    };
    let state = 2 * BATCH * HIDDEN;
    let raw = buffer("samples", samples.len(), Use::STORAGE | Use::COPY_DST);
    let input = buffer("LSTM input", samples.len(), Use::STORAGE);
    let output = buffer("LSTM output", TIME_STEPS * BATCH * HIDDEN, Use::STORAGE);
    let h_n = buffer("h_n", state, Use::STORAGE | Use::COPY_DST);
    let c_n = buffer("c_n", state, Use::STORAGE | Use::COPY_DST);
    let energies = buffer("energies", BATCH, Use::STORAGE | Use::COPY_SRC);
    let readback = buffer("readback", BATCH, Use::MAP_READ | Use::COPY_DST);
    queue.write_buffer(&raw, 0, bytemuck::cast_slice(&samples));

    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("one frame") });
    own_pass(&device, &mut encoder, "squash", &raw, &input, samples.len());
    placed.encode(&mut encoder, TIME_STEPS, BATCH, &LstmBuffers::new(&input, &output, &h_n, &c_n))?;
    own_pass(&device, &mut encoder, "energy", &output, &energies, BATCH);
    encoder.copy_buffer_to_buffer(&energies, 0, &readback, 0, readback.size());
    queue.submit([encoder.finish()]);

    readback.map_async(wgpu::MapMode::Read, .., |_| {});
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let got: Vec<f32> = bytemuck::pod_collect_to_vec(&readback.get_mapped_range(..)?);

    let expected = on_the_cpu(&lstm, &samples)?;
    println!("\nrow   energy on the GPU   energy on the CPU");
    for (row, (got, expected)) in got.iter().zip(&expected).enumerate() {
        println!("{row:3}   {got:17.6}   {expected:17.6}");
        ensure!((got - expected).abs() < 1e-5, "row {row} differs");
    }
    Ok(())
}

/// Records a compute pass of the program from `source` to `result`, with `invocations` threads.
fn own_pass(
    device: &wgpu::Device,
    encoder: &mut wgpu::CommandEncoder,
    entry_point: &str,
    source: &wgpu::Buffer,
    result: &wgpu::Buffer,
    invocations: usize,
) {
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("own shaders"),
        source: wgpu::ShaderSource::Wgsl(SHADERS.replace("HIDDEN", &HIDDEN.to_string()).into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(entry_point),
        layout: None,
        module: &module,
        entry_point: Some(entry_point),
        compilation_options: Default::default(),
        cache: None,
    });
    let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(entry_point),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[
            wgpu::BindGroupEntry { binding: 0, resource: source.as_entire_binding() },
            wgpu::BindGroupEntry { binding: 1, resource: result.as_entire_binding() },
        ],
    });
    let mut pass = encoder.begin_compute_pass(&Default::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &bindings, &[]);
    pass.dispatch_workgroups(invocations.div_ceil(64) as u32, 1, 1);
}

/// Runs the whole pipeline again on the CPU.
fn on_the_cpu(lstm: &Lstm, samples: &[f32]) -> Result<Vec<f32>> {
    let squashed: Vec<f32> = samples.iter().map(|v| v / (1.0 + v.abs())).collect();
    let (output, _) = lstm.to(&Device::cpu())?.forward(&Tensor::new([TIME_STEPS, BATCH, FEATURES], squashed)?, None)?;
    let energy = |row| {
        let rows = output.data().chunks_exact(HIDDEN).skip(row).step_by(BATCH);
        rows.flatten().map(|y| y * y).sum::<f32>() / (TIME_STEPS * HIDDEN) as f32
    };
    Ok((0..BATCH).map(energy).collect())
}
