//! Waiting for a native device, which makes progress only while somebody polls it. A browser polls by itself.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// How a poll ended that did not succeed.
#[derive(Debug)]
enum Failed {
    /// The work takes longer than one poll waits.
    TimedOut,
    /// The device is lost, for this reason.
    Lost(String),
    /// A callback of the program's own panicked, which says nothing about the device; the poll may have ended before
    /// others.
    CallbackPanicked(Box<dyn Any + Send>),
}

/// Polls the device. wgpu panics where a poll finds it lost; here that is an error like any other.
fn poll(device: &wgpu::Device, kind: wgpu::PollType) -> Result<(), Failed> {
    match catch_unwind(AssertUnwindSafe(|| device.poll(kind))) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(wgpu::PollError::Timeout)) => Err(Failed::TimedOut),
        // A wait for a submission that the device never took: it was lost before.
        Ok(Err(error)) => Err(Failed::Lost(error.to_string())),
        Err(panic) => match panic.downcast_ref::<String>() {
            Some(message) if message.contains("Device::poll") => Err(Failed::Lost(message.clone())),
            _ => Err(Failed::CallbackPanicked(panic)),
        },
    }
}

/// Has wgpu call the lost callback, if the device is lost. A panic of a callback of the program's own goes on in this
/// thread, which is the one that wgpu called it on.
pub(super) fn deliver_news(device: &wgpu::Device) {
    if let Err(Failed::CallbackPanicked(panic)) = poll(device, wgpu::PollType::Poll) {
        resume_unwind(panic);
    }
}

/// How long one poll waits at most. All OpenGL devices share a lock that wgpu holds for that time, and gives up on,
/// with a panic, after six seconds.
const POLL_TIME: Duration = Duration::from_millis(50);

/// Waits on this thread until a submission is done, however long that takes; on failure returns why the device is lost.
pub(super) fn wait_here(
    device: &wgpu::Device,
    submission: &wgpu::SubmissionIndex,
    on_callback_panic: fn(Box<dyn Any + Send>),
) -> Result<(), String> {
    loop {
        let kind = wgpu::PollType::Wait { submission_index: Some(submission.clone()), timeout: Some(POLL_TIME) };
        match poll(device, kind) {
            Ok(()) => return Ok(()),
            Err(Failed::TimedOut) => {}
            Err(Failed::Lost(reason)) => return Err(reason),
            Err(Failed::CallbackPanicked(panic)) => on_callback_panic(panic),
        }
    }
}

/// The caller's thread is the one that wgpu called the callback on.
pub(super) fn go_on_panicking(panic: Box<dyn Any + Send>) {
    resume_unwind(panic)
}

/// A native device makes progress only while somebody polls it. A thread of its own does so for the time of the wait,
/// so that the caller's executor neither blocks nor spins.
pub(super) async fn wait_on_thread(device: &wgpu::Device, submission: &wgpu::SubmissionIndex) -> Result<(), String> {
    let (sender, receiver) = futures_intrusive::channel::shared::oneshot_channel();
    let (of_thread, submission_of_thread) = (device.clone(), submission.clone());
    let spawned = std::thread::Builder::new().name("wgpu-rnn wait".to_owned()).spawn(move || {
        // A panic was reported as one of this thread, and ends nothing else. Each callback is called once, so that the
        // wait comes to an end.
        let ended = wait_here(&of_thread, &submission_of_thread, drop);
        // Nobody listens when the caller dropped its future.
        let _ = sender.send(ended);
    });
    match spawned {
        Ok(_) => receiver.receive().await.unwrap_or_else(|| Err("the thread that waited panicked".to_owned())),
        // To block is better than to fail.
        Err(_) => wait_here(device, submission, go_on_panicking),
    }
}
