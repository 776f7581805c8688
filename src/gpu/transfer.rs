//! Bytes to and from the device.

use std::sync::atomic::Ordering;

use crate::Result;
use crate::gpu::Wait;
use crate::gpu::guarded::GuardedDevice;

/// One write's most bytes. `write_buffer` stages what it is given at once, and a device that runs out of memory there is
/// lost, not only the write.
const WRITE_BYTES: usize = 16 << 20;
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

/// Writes `bytes` to the start of `buffer`; in effect before any work submitted later.
pub(crate) async fn upload(gpu: &GuardedDevice, buffer: &wgpu::Buffer, bytes: &[u8], wait: Wait) -> Result<()> {
    let during = "uploading";
    for (i, window) in bytes.chunks(WRITE_BYTES).enumerate() {
        let offset = (i * WRITE_BYTES) as u64;
        gpu.scoped(during, || gpu.queue.write_buffer(buffer, offset, window)).await?;
        // Counted over all uploads of the device. Two threads may both flush, which does no harm.
        if gpu.unflushed.fetch_add(window.len(), Ordering::Relaxed) + window.len() >= FLUSH_BYTES {
            gpu.unflushed.store(0, Ordering::Relaxed);
            let submission = gpu.scoped(during, || gpu.queue.submit([])).await?;
            gpu.until_done(submission, wait, during).await?;
        }
    }
    Ok(())
}

/// Maps a staging buffer whose copy was submitted, hands its bytes to `take`, and unmaps it.
pub(crate) async fn read_back<T>(
    gpu: &GuardedDevice,
    staging: &wgpu::Buffer,
    submission: wgpu::SubmissionIndex,
    wait: Wait,
    take: impl FnOnce(&[u8]) -> T,
) -> Result<T> {
    let during = "reading results back";
    let (sender, receiver) = futures_intrusive::channel::shared::oneshot_channel();
    gpu.scoped(during, || {
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            // Nobody listens when the caller dropped its future.
            let _ = sender.send(result);
        });
    })
    .await?;
    gpu.until_done(submission, wait, during).await?;
    // Another thread's poll may have taken the answer and be about to give it, so that it can come after the wait.
    match receiver.receive().await {
        Some(Ok(())) => {}
        Some(Err(error)) => return Err(gpu.lost_error(during, error.to_string())),
        None => return Err(gpu.lost_error(during, "the device gave no answer".to_owned())),
    }
    let unmapped = gpu.scoped(during, || {
        let taken = staging.get_mapped_range(..).map(|view| take(&view));
        staging.unmap();
        taken
    });
    // Unmapped by somebody else, in the time since: only the loss of the device does that.
    unmapped.await?.map_err(|error| gpu.lost_error(during, error.to_string()))
}
