//! Transfers to and from the device.

use std::sync::atomic::Ordering;

use crate::blocking::Wait;
use crate::error::Result;
use crate::gpu::arrays::BufferRange;
use crate::gpu::context::Context;
use crate::gpu::guarded::GuardedDevice;
use crate::memory::{collected, zeroed};
use crate::real::Real;

/// The most bytes of one write. `write_buffer` stages its data immediately, and if memory runs out there, the whole
/// device is lost.
const WRITE_BYTES: usize = 16 << 20;
/// The fewest bytes that a write counts as: this much is kept for each one, however small.
const LEAST_BYTES: usize = 4 << 10;
/// The bytes after which writes are submitted and waited for, so that their staging memory is freed.
const FLUSH_BYTES: usize = 64 << 20;

/// Creates a buffer. Must be called within an error scope.
pub(crate) fn buffer(device: &wgpu::Device, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(&format!("wgpu-rnn {label}")),
        size: bytes,
        usage,
        mapped_at_creation: false,
    })
}

/// Creates a buffer that holds `bytes`, for recordings to copy from: several may await submission at the same time, so
/// what each needs is copied when it runs.
///
/// The host writes directly into it. With any other usage, wgpu would write to a staging buffer and keep that, and the
/// copy from it, until the next submission, even if the recording is dropped.
pub(crate) async fn copy_source(gpu: &GuardedDevice, label: &str, bytes: &[u8]) -> Result<BufferRange> {
    let during = "creating the scratch buffers";
    let made = gpu.scoped(during, || {
        let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(&format!("wgpu-rnn {label}")),
            size: bytes.len() as u64,
            usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: true,
        });
        buffer.get_mapped_range_mut(..).map(|mut memory| memory.copy_from_slice(bytes))?;
        buffer.unmap();
        Ok(buffer)
    });
    let made = made.await?.map_err(|error: wgpu::MapRangeError| gpu.lost_error(during, error.to_string()))?;
    Ok(BufferRange::whole(made))
}

/// Writes `bytes` to `buffer` from `offset` on. The write takes effect before any work submitted later.
pub(crate) async fn upload(
    gpu: &GuardedDevice,
    buffer: &wgpu::Buffer,
    offset: u64,
    bytes: &[u8],
    wait: Wait,
) -> Result<()> {
    let during = "uploading";
    for (i, window) in bytes.chunks(WRITE_BYTES).enumerate() {
        let offset = offset + (i * WRITE_BYTES) as u64;
        gpu.scoped(during, || gpu.queue.write_buffer(buffer, offset, window)).await?;
        // Counts the uploads of all calls on the device. Two threads may both flush, which does no harm.
        let counted = window.len().max(LEAST_BYTES);
        if gpu.unflushed.fetch_add(counted, Ordering::Relaxed) + counted >= FLUSH_BYTES {
            gpu.unflushed.store(0, Ordering::Relaxed);
            let submission = gpu.scoped(during, || gpu.queue.submit([])).await?;
            gpu.until_done(submission, wait, during).await?;
        }
    }
    Ok(())
}

/// Copies ranges of buffers to the host, and returns them as arrays of the given sizes in bytes. They go through a
/// staging buffer of their size, or several, one after another, if that is more than a buffer may have. Errors say what
/// happened `during`.
pub(crate) async fn read_ranges<F: Real>(
    context: &Context,
    during: &'static str,
    ranges: &[BufferRange],
    sizes: &[u64],
    wait: Wait,
) -> Result<Vec<Vec<F>>> {
    let most = context.limits.buffer & !(wgpu::COPY_BUFFER_ALIGNMENT - 1);
    if sizes.iter().sum::<u64>() <= most {
        return read_staged(context, during, ranges, sizes, wait).await;
    }
    let mut parts = Vec::new();
    for group in staged(ranges, most) {
        let bytes = group.iter().map(|range| range.bytes).sum();
        parts.extend(read_staged::<F>(context, during, &group, &[bytes], wait).await?);
    }
    let mut elements = parts.iter().flatten();
    let array = |&size: &u64| collected("results", size as usize / size_of::<F>(), elements.by_ref().copied());
    sizes.iter().map(array).collect()
}

/// Cuts ranges into groups of at most `most` bytes, in their order.
fn staged(ranges: &[BufferRange], most: u64) -> Vec<Vec<BufferRange>> {
    let mut groups = Vec::new();
    let (mut group, mut free) = (Vec::new(), most);
    for range in ranges {
        let mut rest = range.clone();
        while rest.bytes > 0 {
            let taken = rest.first(free);
            free -= taken.bytes;
            rest = BufferRange { offset: rest.offset + taken.bytes, bytes: rest.bytes - taken.bytes, ..rest };
            group.push(taken);
            if free == 0 {
                groups.push(std::mem::take(&mut group));
                free = most;
            }
        }
    }
    groups.extend((!group.is_empty()).then_some(group));
    groups
}

/// Copies ranges of buffers to the host through one staging buffer, and returns them as arrays of the given sizes.
async fn read_staged<F: Real>(
    context: &Context,
    during: &'static str,
    ranges: &[BufferRange],
    sizes: &[u64],
    wait: Wait,
) -> Result<Vec<Vec<F>>> {
    use wgpu::BufferUsages as Use;
    let gpu = &context.gpu;
    let bytes = sizes.iter().sum();
    let copied = gpu.scoped(during, || {
        let staging = buffer(&gpu.device, "readback", bytes, Use::MAP_READ | Use::COPY_DST);
        let label = Some("wgpu-rnn readback");
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
        let mut at = 0;
        for BufferRange { buffer, offset, bytes } in ranges {
            encoder.copy_buffer_to_buffer(buffer, *offset, &staging, at, *bytes);
            at += bytes;
        }
        (gpu.queue.submit([encoder.finish()]), staging)
    });
    let (submission, staging) = copied.await?;
    read_back(gpu, &staging, submission, wait, sizes).await
}

/// Maps a staging buffer whose copies were submitted, and returns the arrays that it holds, one after another, with the
/// given sizes in bytes.
pub(crate) async fn read_back<F: Real>(
    gpu: &GuardedDevice,
    staging: &wgpu::Buffer,
    submission: wgpu::SubmissionIndex,
    wait: Wait,
    sizes: &[u64],
) -> Result<Vec<Vec<F>>> {
    let (during, bytes) = ("reading results back", sizes.iter().sum());
    let (sender, receiver) = futures_intrusive::channel::shared::oneshot_channel();
    gpu.scoped(during, || {
        staging.map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
            // Nobody is listening if the caller dropped its future.
            let _ = sender.send(result);
        });
    })
    .await?;
    // In a browser the mapping completes on its own, after the submission; waiting for the submission would be another
    // round trip.
    #[cfg(not(target_arch = "wasm32"))]
    gpu.until_done(submission, wait, during).await?;
    #[cfg(target_arch = "wasm32")]
    let (_, _) = (submission, wait);
    // Another thread's poll may have taken this callback and be about to call it, so the result can arrive after the
    // wait. It never arrives if one of the program's own callbacks panicked before this one was called; the buffer is
    // mapped in that case too.
    if let Some(Err(error)) = receiver.receive().await {
        return Err(gpu.lost_error(during, error.to_string()));
    }
    let unmapped = gpu.scoped(during, || {
        let taken = staging.get_mapped_range(0..bytes).map(|view| split(&view, sizes));
        staging.unmap();
        taken
    });
    // Not mapped, or unmapped in the meantime: only the loss of the device causes that.
    unmapped.await?.map_err(|error| gpu.lost_error(during, error.to_string()))?
}

fn split<F: Real>(mut bytes: &[u8], sizes: &[u64]) -> Result<Vec<Vec<F>>> {
    let mut arrays = Vec::with_capacity(sizes.len());
    for &size in sizes {
        let (of_array, rest) = bytes.split_at(size as usize);
        // The mapped memory need not be aligned for F.
        let mut array = zeroed("results", &[of_array.len() / size_of::<F>()])?;
        bytemuck::cast_slice_mut(&mut array).copy_from_slice(of_array);
        arrays.push(array);
        bytes = rest;
    }
    Ok(arrays)
}
