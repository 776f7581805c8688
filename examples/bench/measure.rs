//! The clocks: a whole call with upload and readback, submission to completion without them, and the GPU's own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use wgpu_rnn::wgpu::{self, BufferUsages as Use};
use wgpu_rnn::{Buffers, Device, Kind, Placed, Tensor};

/// The times by one clock.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub median: Duration,
    pub min: Duration,
    pub max: Duration,
}

impl Times {
    fn of(mut all: Vec<Duration>) -> Option<Self> {
        all.sort();
        Some(Self { median: *all.get(all.len() / 2)?, min: *all.first()?, max: *all.last()? })
    }
}

/// Two calls to warm up, or one if it takes seconds.
const WARM_UP: usize = 2;
const PATIENCE: Duration = Duration::from_secs(2);

/// Calls `work` the given number of times, after calls that warm up.
pub fn repeat(times: usize, mut work: impl FnMut() -> Result<Duration>) -> Result<Times> {
    let start = Instant::now();
    for _ in 0..WARM_UP {
        work()?;
        if start.elapsed() > PATIENCE {
            break;
        }
    }
    let times = (0..times).map(|_| work()).collect::<Result<Vec<_>>>()?;
    Times::of(times).context("nothing was measured")
}

/// Times a forward between arrays on the host.
pub fn whole_call<K: Kind>(model: &Placed<K>, x: &Tensor, times: usize) -> Result<Times> {
    repeat(times, || {
        let start = Instant::now();
        model.forward(x, None)?;
        Ok(start.elapsed())
    })
}

/// Makes the arguments of `encode` from buffers for input, output and last states.
pub type MakeBuffers<K> = for<'a> fn(&'a [wgpu::Buffer]) -> Buffers<'a, K>;

/// Times submission to completion over existing buffers, and by the GPU's own clock if the device has timestamps.
pub fn on_device<K: Kind>(
    model: &Placed<K>,
    device: &Device,
    (t, b): (usize, usize),
    bytes: &[u64],
    make: MakeBuffers<K>,
    times: usize,
) -> Result<(Times, Option<Times>)> {
    let (gpu, queue) = device.wgpu().context("this clock needs a GPU")?;
    let buffers: Vec<wgpu::Buffer> = bytes
        .iter()
        .map(|&size| {
            let usage = Use::STORAGE | Use::COPY_SRC | Use::COPY_DST;
            gpu.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        })
        .collect();
    let clock = Clock::new(gpu);
    let mut of_gpu = Vec::new();
    let submitted = repeat(times, || {
        let mut encoder = gpu.create_command_encoder(&Default::default());
        if let Some(clock) = &clock {
            clock.stamp(&mut encoder, 0);
        }
        model.encode(&mut encoder, t, b, &make(&buffers))?;
        if let Some(clock) = &clock {
            clock.stamp(&mut encoder, 1);
            clock.resolve(&mut encoder);
        }
        let commands = encoder.finish();
        let start = Instant::now();
        queue.submit([commands]);
        gpu.poll(wgpu::PollType::wait_indefinitely())?;
        let elapsed = start.elapsed();
        if let Some(clock) = &clock {
            of_gpu.push(clock.read(gpu, queue)?);
        }
        Ok(elapsed)
    })?;
    Ok((submitted, Times::of(of_gpu)))
}

/// Two timestamps around the work of an encoder.
struct Clock {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
}

impl Clock {
    fn new(device: &wgpu::Device) -> Option<Self> {
        if !device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return None;
        }
        let set = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false })
        };
        let resolved = buffer(Use::QUERY_RESOLVE | Use::COPY_SRC);
        Some(Self { set, resolved, staging: buffer(Use::COPY_DST | Use::MAP_READ) })
    }

    /// Records an empty pass that ends, or begins, at this point.
    fn stamp(&self, encoder: &mut wgpu::CommandEncoder, index: u32) {
        let writes = wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: (index == 1).then_some(index),
            end_of_pass_write_index: (index == 0).then_some(index),
        };
        encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes: Some(writes) });
    }

    fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.set, 0..2, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, 16);
    }

    fn read(&self, device: &wgpu::Device, queue: &wgpu::Queue) -> Result<Duration> {
        self.staging.map_async(wgpu::MapMode::Read, .., |_| {});
        device.poll(wgpu::PollType::wait_indefinitely())?;
        let stamps: Vec<u64> = bytemuck::pod_collect_to_vec(&self.staging.get_mapped_range(..)?);
        self.staging.unmap();
        let ticks = stamps[1].saturating_sub(stamps[0]) as f64;
        Ok(Duration::from_nanos((ticks * f64::from(queue.get_timestamp_period())) as u64))
    }
}
