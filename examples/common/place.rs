//! The options `--device` and `--adapter` of the examples.

use anyhow::{Result, bail};
use clap::ValueEnum;
use wgpu_rnn::{Device, GpuOptions};

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Place {
    Auto,
    Gpu,
    Cpu,
}

impl Place {
    /// Opens the device; with `adapter`, a GPU whose name contains it.
    pub fn open(self, adapter: Option<&str>) -> Result<Device> {
        Ok(match (self, adapter) {
            (Self::Cpu, Some(_)) => bail!("--adapter names a GPU adapter and cannot be used with --device cpu"),
            (Self::Cpu, None) => Device::cpu(),
            (Self::Auto, None) => Device::auto(),
            (Self::Gpu, None) => Device::gpu(&GpuOptions::new())?,
            (Self::Auto | Self::Gpu, Some(name)) => Device::gpu(&GpuOptions::new().with_name(name))?,
        })
    }
}
