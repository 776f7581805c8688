//! A first look: two models with random weights run on the GPU and on the CPU, and the results are compared.
//!
//! cargo run --release --example quickstart

use wgpu_rnn::{Device, GpuOptions, Lstm, LstmConfig, Tensor};

fn main() -> Result<(), wgpu_rnn::Error> {
    let cpu = Device::cpu();
    // Any GPU, software adapters included; if there is none, both sides run on the CPU.
    let gpu = Device::gpu(&GpuOptions::new()).unwrap_or_else(|error| {
        println!("{error}");
        cpu.clone()
    });
    println!("first device:  {gpu}: {}\nsecond device: {cpu}", gpu.reason());

    let deep = LstmConfig::new(100, 20).with_num_layers(4);
    let small = LstmConfig::new(10, 20).with_num_layers(2);
    for (config, shape) in [(deep, [10, 3, 100]), (small, [5, 3, 10])] {
        println!("\n{config} on input {shape:?}");
        let lstm = Lstm::random(config, 0)?;
        let elements = shape.iter().product();
        let wave = (0..elements).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<_>>();
        let x = Tensor::new(shape, wave)?;

        let (output, state) = lstm.to(&gpu)?.forward(&x, None)?;
        let (expected, _) = lstm.to(&cpu)?.forward(&x, None)?;
        println!("output {:?}, h {:?}, c {:?}", output.shape(), state.h.shape(), state.c.shape());

        let differences = output.data().iter().zip(expected.data()).map(|(a, b)| (a - b).abs());
        println!("largest difference between the devices: {:.1e}", differences.fold(0.0, f32::max));
    }
    Ok(())
}
