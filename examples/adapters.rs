//! Lists the GPU adapters that wgpu finds, and what this crate would run on. Exit status 1 without any adapter to run on.
//!
//! cargo run --release --example adapters
//! cargo run --release --example adapters -- --pci-bus-id 0000:01:00.0

use std::process::ExitCode;

use clap::Parser;
use wgpu_rnn::{Device, GpuOptions};

#[derive(Parser)]
struct Arguments {
    /// The GPU at this address of the PCI bus, as this example lists it
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
    // An empty id leaves open which GPU it is.
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
