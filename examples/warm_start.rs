//! Starts faster with the kernels that an earlier run compiled: run it twice.
//!
//! cargo run --release --example warm_start

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use wgpu_rnn::wgpu::{self, util::pipeline_cache_key};
use wgpu_rnn::{Device, GpuOptions, Lstm, LstmConfig};

/// Times how long an LSTM takes until its first forward, with a pipeline cache that is kept in a file.
///
/// Drivers may keep a cache of their own; MESA_SHADER_CACHE_DISABLE=true turns Mesa's off. Mesa's software driver,
/// lavapipe, returns only a header as cache data: there, only Mesa's own cache makes a start faster.
#[derive(Parser)]
struct Arguments {
    /// The cache file [default: one per adapter in the system's folder for temporary files]
    #[arg(long, value_name = "FILE")]
    cache: Option<PathBuf>,
    /// Use the GPU whose name contains NAME
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let options = GpuOptions::new();
    let device = Device::gpu(&match arguments.adapter {
        Some(name) => options.with_name(name),
        None => options,
    })?;
    let (gpu, _) = device.wgpu().context("the example runs on a GPU")?;
    // The name identifies vendor and device. Driver and wgpu version are checked with the data.
    let key = device.adapter_info().and_then(pipeline_cache_key);
    let Some(key) = key.filter(|_| gpu.features().contains(wgpu::Features::PIPELINE_CACHE)) else {
        println!("{device}: no pipeline caches here (only Vulkan has them); the driver may keep one of its own");
        return Ok(());
    };
    let path = arguments.cache.unwrap_or_else(|| std::env::temp_dir().join(key));
    let kept = read(&path)?;
    println!("{device}\n{}: {}", path.display(), kept.as_deref().map_or("no cache yet".to_owned(), bytes));

    let descriptor = wgpu::PipelineCacheDescriptor { label: None, data: kept.as_deref(), fallback: true };
    // SAFETY: the data must come from `PipelineCache::get_data`. `write` below puts nothing else into the file, and
    // wgpu compares the header (device, driver, length). That proves nothing about the rest: whoever can write to the
    // file can put anything behind the header, and the driver may trust it. A program should therefore keep the file
    // where only its user can write, which is not the case for a shared folder for temporary files.
    let cache = unsafe { gpu.create_pipeline_cache(&descriptor) };
    device.set_pipeline_cache(cache.clone())?;

    let start = Instant::now();
    let lstm = Lstm::random(LstmConfig::new(64, 128).with_num_layers(2), 0)?.to(&device)?;
    println!("placed in {:.1} ms", ms(start.elapsed()));
    // One row and many are different kernels.
    for shape in [[50, 1, 64], [50, 32, 64]] {
        let [first, again] = [warm_up(&lstm, &shape)?, warm_up(&lstm, &shape)?];
        println!("{shape:?}: first warm_up {first:.1} ms; second, with nothing to compile, {again:.1} ms");
    }

    let data = cache.get_data().context("the driver returns no data for its cache")?;
    write(&path, &data)?;
    println!("wrote {}", bytes(&data));
    Ok(())
}

fn warm_up(lstm: &wgpu_rnn::PlacedLstm, shape: &[usize]) -> Result<f64> {
    let start = Instant::now();
    lstm.warm_up(shape).run()?;
    Ok(ms(start.elapsed()))
}

/// Returns the data that an earlier run kept, if there was one.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(data) => Ok(Some(data)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// Writes the file whole or not at all: a temporary file takes its name once it is complete.
fn write(path: &Path, data: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(data)?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("writing {}", path.display()))
}

fn bytes(data: &[u8]) -> String {
    format!("{} bytes", data.len())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
