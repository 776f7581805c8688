//! Bytes to and from the device, and waiting for it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::gpu::Wait;
use crate::gpu::context::Context;
use crate::{Error, Result};

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
pub(crate) async fn upload(context: &Context, buffer: &wgpu::Buffer, bytes: &[u8], wait: Wait) -> Result<()> {
    let during = "uploading";
    for (i, window) in bytes.chunks(WRITE_BYTES).enumerate() {
        let offset = i * WRITE_BYTES;
        let flush = offset > 0 && offset.is_multiple_of(FLUSH_BYTES);
        let submission = context
            .scoped(during, || {
                let submission = flush.then(|| context.queue.submit([]));
                context.queue.write_buffer(buffer, offset as u64, window);
                submission
            })
            .await?;
        if let Some(submission) = submission {
            until_done(context, submission, wait, during).await?;
        }
    }
    Ok(())
}

/// Waits until a submission is done.
pub(crate) async fn until_done(
    context: &Context,
    submission: wgpu::SubmissionIndex,
    wait: Wait,
    during: &'static str,
) -> Result<()> {
    #[cfg(not(target_arch = "wasm32"))]
    {
        let polled = match wait {
            Wait::Blocking => poll(&context.device, submission),
            Wait::Async => poll_on_thread(&context.device, submission).await,
        };
        polled.map_err(|reason| context.lost_error(during, reason))?;
    }
    #[cfg(target_arch = "wasm32")]
    {
        // The browser polls by itself.
        let (_, _) = (submission, wait);
        let (sender, receiver) = futures_intrusive::channel::shared::oneshot_channel();
        context.queue.on_submitted_work_done(move || {
            let _ = sender.send(());
        });
        if receiver.receive().await.is_none() {
            return Err(context.lost_error(during, "the device gave no answer".to_owned()));
        }
    }
    context.check_alive(during)
}

/// Blocks until a submission is done.
#[cfg(not(target_arch = "wasm32"))]
fn poll(device: &wgpu::Device, submission: wgpu::SubmissionIndex) -> Result<(), String> {
    poll_device(device, wgpu::PollType::Wait { submission_index: Some(submission), timeout: None })
}

/// Delivers callbacks that are due, without waiting. A failure shows in what they say.
pub(crate) fn poll_once(device: &wgpu::Device) {
    let _ = poll_device(device, wgpu::PollType::Poll);
}

/// wgpu panics where a poll finds the device lost; here that is an error like any other.
fn poll_device(device: &wgpu::Device, kind: wgpu::PollType) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(|| device.poll(kind))) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("waiting for the device failed".to_owned()),
    }
}

/// A native device makes progress only while somebody polls it. A thread of its own does so for the time of the wait, so
/// that the caller's executor neither blocks nor spins.
#[cfg(not(target_arch = "wasm32"))]
async fn poll_on_thread(device: &wgpu::Device, submission: wgpu::SubmissionIndex) -> Result<(), String> {
    let (sender, receiver) = futures_intrusive::channel::shared::oneshot_channel();
    let device = device.clone();
    let spawned = std::thread::Builder::new().name("wgpu-rnn wait".to_owned()).spawn(move || {
        // Nobody listens when the caller dropped its future.
        let _ = sender.send(poll(&device, submission));
    });
    spawned.map_err(|error| format!("no thread could be started to wait for the device: {error}"))?;
    receiver.receive().await.unwrap_or_else(|| Err("waiting for the device failed".to_owned()))
}

/// Maps a staging buffer whose copy was submitted, hands its bytes to `take`, and unmaps it.
pub(crate) async fn read_back<T>(
    context: &Context,
    staging: &wgpu::Buffer,
    submission: wgpu::SubmissionIndex,
    wait: Wait,
    take: impl FnOnce(&[u8]) -> T,
) -> Result<T> {
    let during = "reading results back";
    let (sender, receiver) = futures_intrusive::channel::shared::oneshot_channel();
    context
        .scoped(during, || {
            staging.map_async(wgpu::MapMode::Read, .., move |result| {
                // Nobody listens when the caller dropped its future.
                let _ = sender.send(result);
            });
        })
        .await?;
    until_done(context, submission, wait, during).await?;
    match mapped(receiver).await {
        Some(Ok(())) => {}
        Some(Err(error)) => return Err(context.lost_error(during, error.to_string())),
        None => return Err(context.lost_error(during, "the device gave no answer".to_owned())),
    }
    let gpu_error = |message: String| Error::Gpu { during, message };
    let value = {
        let view = staging.get_mapped_range(..).map_err(|error| gpu_error(error.to_string()))?;
        take(&view)
    };
    staging.unmap();
    Ok(value)
}

type MapReceiver = futures_intrusive::channel::shared::OneshotReceiver<Result<(), wgpu::BufferAsyncError>>;

/// The mapping's answer. A native device has given it by the time that its work is done: to wait longer could be forever.
#[cfg(not(target_arch = "wasm32"))]
async fn mapped(receiver: MapReceiver) -> Option<Result<(), wgpu::BufferAsyncError>> {
    let answer = std::pin::pin!(receiver.receive());
    match answer.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(answer) => answer,
        std::task::Poll::Pending => None,
    }
}

#[cfg(target_arch = "wasm32")]
async fn mapped(receiver: MapReceiver) -> Option<Result<(), wgpu::BufferAsyncError>> {
    receiver.receive().await
}
