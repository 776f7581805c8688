//! Lists the GPU adapters that wgpu finds, and those that this crate would use. The exit status is 1 if there is none.
//!
//! cargo run --release --example adapters
//! cargo run --release --example adapters -- --pci-bus-id 0000:01:00.0

use std::process::ExitCode;

use clap::Parser;
use wgpu_rnn::{Device, GpuOptions};

/// Lists the GPU adapters of this machine, and those that the library would use.
#[derive(Parser)]
struct Arguments {
    /// Open the GPU at this PCI bus address, as listed by this example
    #[arg(long)]
    pci_bus_id: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    for info in Device::adapters() {
        let bus_id = if info.device_pci_bus_id.is_empty() { "no PCI bus id" } else { &info.device_pci_bus_id };
        println!(
            "{} · {} · {:?} · {bus_id} · driver {} {}",
            info.name, info.backend, info.device_type, info.driver, info.driver_info
        );
    }
    let auto = Device::auto();
    println!("auto: {auto} ({})", auto.reason());
    match Device::gpus() {
        Ok(gpus) => gpus.iter().for_each(|gpu| println!("gpus: {gpu} ({})", gpu.reason())),
        Err(error) => println!("gpus: {error}"),
    }
    // An empty id fits any GPU.
    let options = GpuOptions::new().with_pci_bus_id(arguments.pci_bus_id.unwrap_or_default());
    match Device::gpu(&options) {
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
