//! Bytes to and from the device.

use std::sync::atomic::Ordering;

use crate::blocking::Wait;
use crate::error::Result;
use crate::gpu::guarded::GuardedDevice;
use crate::memory::zeroed;
use crate::real::Real;

/// One write's most bytes. `write_buffer` stages what it is given at once, and a device that runs out of memory there
/// is lost, not only the write.
const WRITE_BYTES: usize = 16 << 20;
/// What a write counts for at least: so much is kept for each, however small.
const LEAST_BYTES: usize = 4 << 10;
/// After so many bytes the writes are submitted and waited for, so that their staging memory is freed.
const FLUSH_BYTES: usize = 64 << 20;

/// Creates a buffer. Call it within an error scope.
pub(crate) fn buffer(device: &wgpu::Device, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(&format!("wgpu-rnn {label}")),
        size: bytes,
        usage,
        mapped_at_creation: false,
    })
}

/// Creates a buffer that holds `bytes`, for recordings to copy from. Call it within an error scope.
///
/// The host writes it in place. Any other use than these two would have wgpu write to a staging buffer, and keep that
/// and the copy from it until the next submission, also if the recording is dropped.
pub(crate) fn filled_buffer(
    device: &wgpu::Device,
    label: &str,
    bytes: &[u8],
) -> Result<wgpu::Buffer, wgpu::MapRangeError> {
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(&format!("wgpu-rnn {label}")),
        size: bytes.len() as u64,
        usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: true,
    });
    buffer.get_mapped_range_mut(..)?.copy_from_slice(bytes);
    buffer.unmap();
    Ok(buffer)
}

/// Writes `bytes` to `buffer` from `offset` on; in effect before any work submitted later.
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
        // Counted over all uploads of the device. Two threads may both flush, which does no harm.
        let counted = window.len().max(LEAST_BYTES);
        if gpu.unflushed.fetch_add(counted, Ordering::Relaxed) + counted >= FLUSH_BYTES {
            gpu.unflushed.store(0, Ordering::Relaxed);
            let submission = gpu.scoped(during, || gpu.queue.submit([])).await?;
            gpu.until_done(submission, wait, during).await?;
        }
    }
    Ok(())
}

/// Maps a staging buffer whose copies were submitted, and takes out the arrays that lie in it one behind the other,
/// each of so many bytes.
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
            // Nobody listens when the caller dropped its future.
            let _ = sender.send(result);
        });
    })
    .await?;
    // In a browser the answer comes by itself, after the submission, and asking for the submission would be a round
    // trip more.
    #[cfg(not(target_arch = "wasm32"))]
    gpu.until_done(submission, wait, during).await?;
    #[cfg(target_arch = "wasm32")]
    let (_, _) = (submission, wait);
    // Another thread's poll may have taken the answer and be about to give it, so that it can come after the wait.
    // There is none where a callback of the program's own panicked before it was given; the buffer is mapped then as
    // well.
    if let Some(Err(error)) = receiver.receive().await {
        return Err(gpu.lost_error(during, error.to_string()));
    }
    let unmapped = gpu.scoped(during, || {
        let taken = staging.get_mapped_range(0..bytes).map(|view| split(&view, sizes));
        staging.unmap();
        taken
    });
    // Not mapped, or unmapped in the time since: only the loss of the device does that.
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
