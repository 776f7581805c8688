//! The options `--device` and `--adapter` of the examples.

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use wgpu_rnn::{Device, GpuOptions};

#[derive(Args)]
pub struct Place {
    /// Where to run: auto uses a real GPU, or the CPU if there is none; gpu accepts software adapters as well
    #[arg(long, value_enum, default_value_t = Kind::Auto)]
    device: Kind,

    /// Use the GPU adapter whose name contains NAME; not with --device cpu
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Kind {
    Auto,
    Gpu,
    Cpu,
}

impl Place {
    /// Rejects options that contradict each other.
    pub fn check(&self) -> Result<()> {
        let contradicts = self.device == Kind::Cpu && self.adapter.is_some();
        ensure!(!contradicts, "--adapter names a GPU adapter and cannot be used with --device cpu");
        Ok(())
    }

    /// Opens the device.
    pub fn open(&self) -> Result<Device> {
        self.check()?;
        Ok(match (self.device, &self.adapter) {
            (Kind::Cpu, _) => Device::cpu(),
            (Kind::Auto, None) => Device::auto(),
            (Kind::Gpu, None) => Device::gpu(&GpuOptions::new())?,
            (Kind::Auto | Kind::Gpu, Some(name)) => Device::gpu(&GpuOptions::new().with_name(name))?,
        })
    }
}
