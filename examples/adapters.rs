//! Lists the GPU adapters that wgpu finds, and what this crate would run on. Exit status 1 without any adapter to run on.
//!
//! cargo run --release --example adapters

use std::process::ExitCode;

use wgpu_rnn::{Device, GpuOptions};

fn main() -> ExitCode {
    for info in Device::adapters() {
        println!(
            "{} · {} · {:?} · driver {} {}",
            info.name, info.backend, info.device_type, info.driver, info.driver_info
        );
    }
    let auto = Device::auto();
    println!("auto: {auto} ({})", auto.reason());
    match Device::gpu(&GpuOptions::new()) {
        Ok(gpu) => {
            println!("gpu:  {gpu} ({})", gpu.reason());
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("gpu:  {error}");
            ExitCode::FAILURE
        }
    }
}
