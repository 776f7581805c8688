//! Waiting for a native device, which makes progress only while it is polled. A browser polls on its own.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// The reason that a poll did not succeed.
#[derive(Debug)]
enum Failed {
    /// The work takes longer than one poll waits.
    TimedOut,
    /// The device is lost, for this reason.
    Lost(String),
    /// One of the program's own callbacks panicked, which says nothing about the device; the poll may have skipped
    /// other callbacks.
    CallbackPanicked(Box<dyn Any + Send>),
}

/// Polls the device. wgpu panics if a poll finds the device lost; this function returns an error like any other.
fn poll(device: &wgpu::Device, kind: wgpu::PollType) -> Result<(), Failed> {
    match catch_unwind(AssertUnwindSafe(|| device.poll(kind))) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(wgpu::PollError::Timeout)) => Err(Failed::TimedOut),
        // The submission was never accepted, so the device was lost before.
        Ok(Err(error)) => Err(Failed::Lost(error.to_string())),
        Err(panic) => match panic.downcast_ref::<String>() {
            Some(message) if message.contains("Device::poll") => Err(Failed::Lost(message.clone())),
            Some(message) if message.starts_with(RACED) => Err(Failed::TimedOut),
            _ => Err(Failed::CallbackPanicked(panic)),
        },
    }
}

/// Makes wgpu call the lost callback if the device is lost. A panic in one of the program's own callbacks is resumed on
/// this thread, on which wgpu called it.
pub(super) fn deliver_news(device: &wgpu::Device) {
    if let Err(Failed::CallbackPanicked(panic)) = poll(device, wgpu::PollType::Poll) {
        resume_unwind(panic);
    }
}

/// The start of the message with which wgpu 30 panics if a poll times out and another thread's poll then finds the
/// submission done (gfx-rs/wgpu#9958). The other poll has called the callbacks.
const RACED: &str = "If the queue is empty, the current submission index";

/// Returns the longest time that one poll waits. All OpenGL devices share a lock that wgpu holds during that time, and
/// gives up waiting for, with a panic, after six seconds. On other backends a poll has no time limit, as one that times
/// out may race with another thread's.
fn poll_time(device: &wgpu::Device) -> Option<Duration> {
    (device.adapter_info().backend == wgpu::Backend::Gl).then_some(Duration::from_millis(50))
}

/// Waits on this thread until a submission is done, however long that takes. On failure, returns the reason that the
/// device was lost.
pub(super) fn wait_here(
    device: &wgpu::Device,
    submission: &wgpu::SubmissionIndex,
    on_callback_panic: fn(Box<dyn Any + Send>),
) -> Result<(), String> {
    let timeout = poll_time(device);
    loop {
        let kind = wgpu::PollType::Wait { submission_index: Some(submission.clone()), timeout };
        match poll(device, kind) {
            Ok(()) => return Ok(()),
            Err(Failed::TimedOut) => {}
            Err(Failed::Lost(reason)) => return Err(reason),
            Err(Failed::CallbackPanicked(panic)) => on_callback_panic(panic),
        }
    }
}

/// Resumes a callback's panic on the caller's thread, on which wgpu called the callback.
pub(super) fn go_on_panicking(panic: Box<dyn Any + Send>) {
    resume_unwind(panic)
}

/// Waits for a submission without blocking. A native device makes progress only while it is polled, so a separate
/// thread does so during the wait, and the caller's executor neither blocks nor spins.
pub(super) async fn wait_on_thread(device: &wgpu::Device, submission: &wgpu::SubmissionIndex) -> Result<(), String> {
    let (sender, receiver) = futures_intrusive::channel::shared::oneshot_channel();
    let (of_thread, submission_of_thread) = (device.clone(), submission.clone());
    let spawned = std::thread::Builder::new().name("wgpu-rnn wait".to_owned()).spawn(move || {
        // The panic was already reported for this thread and ends nothing else. Each callback is called only once, so
        // the wait terminates.
        let ended = wait_here(&of_thread, &submission_of_thread, drop);
        // Nobody is listening if the caller dropped its future.
        let _ = sender.send(ended);
    });
    match spawned {
        Ok(_) => receiver.receive().await.unwrap_or_else(|| Err("the waiting thread panicked".to_owned())),
        // Blocking is better than failing.
        Err(_) => wait_here(device, submission, go_on_panicking),
    }
}
