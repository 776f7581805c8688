//! A wgpu device whose calls are answered with errors: refused calls, lost devices and failed waits alike.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use crate::gpu::Wait;
use crate::{Error, Result};

#[derive(Debug)]
pub(crate) struct GuardedDevice {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    /// Why the device is gone. A device has one lost callback, so a caller's own device has none of ours; there a loss
    /// shows when a result is waited for.
    lost: Arc<OnceLock<String>>,
    /// Bytes written since the last wait for writes.
    pub(crate) unflushed: AtomicUsize,
}

impl GuardedDevice {
    /// A device of our own, which reports its loss to us.
    pub(crate) fn own(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let guarded = Self::borrowed(device, queue);
        let lost = Arc::clone(&guarded.lost);
        guarded.device.set_device_lost_callback(move |reason, message| {
            // Later calls of the callback change nothing: the first reason is the cause.
            let _ = lost.set(format!("{reason:?} {message}").trim().to_owned());
        });
        guarded
    }

    /// A caller's device: its error and loss handlers stay untouched.
    pub(crate) fn borrowed(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        Self { device, queue, lost: Arc::default(), unflushed: AtomicUsize::new(0) }
    }

    /// An error if the device is known to be gone. After a loss wgpu answers calls with misleading errors or none, so this
    /// is asked first.
    pub(crate) fn check_alive(&self, during: &'static str) -> Result<()> {
        match self.lost.get() {
            Some(reason) => Err(Error::DeviceLost { during, reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Runs wgpu calls and collects the error that any of them raised. Error scopes see the calls of this thread only, and
    /// leave the handlers of a caller's device alone.
    pub(crate) async fn scoped<T>(&self, during: &'static str, calls: impl FnOnce() -> T) -> Result<T> {
        self.check_alive(during)?;
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let value = calls();
        // All scopes end before the first await: a guard belongs to this thread.
        let errors = [validation.pop(), internal.pop(), memory.pop()];
        for error in errors {
            if let Some(error) = error.await {
                // A call on a lost device is refused for other reasons; a poll delivers the news of the loss.
                let _ = poll(&self.device, wgpu::PollType::Poll);
                self.check_alive(during)?;
                self.probe(during)?;
                let message = error.to_string();
                return Err(match error {
                    wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory { during, message },
                    _ => Error::Gpu { during, message },
                });
            }
        }
        Ok(value)
    }

    /// An error if the device does not take work any more. A caller's own device tells us of its loss in no other way, and after
    /// it calls are refused for reasons that mislead.
    fn probe(&self, during: &'static str) -> Result<()> {
        #[cfg(not(target_arch = "wasm32"))]
        {
            let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
            let submission = self.queue.submit([]);
            // What this call raises says nothing new.
            drop(scope.pop());
            let kind = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
            poll(&self.device, kind).map_err(|reason| self.lost_error(during, reason))?;
        }
        self.check_alive(during)
    }

    /// The loss of the device, seen as a failed wait or mapping; later calls will report the same.
    pub(crate) fn lost_error(&self, during: &'static str, reason: String) -> Error {
        Error::DeviceLost { during, reason: self.lost.get_or_init(|| reason).clone() }
    }

    /// Waits until a submission is done.
    pub(crate) async fn until_done(
        &self,
        submission: wgpu::SubmissionIndex,
        wait: Wait,
        during: &'static str,
    ) -> Result<()> {
        #[cfg(not(target_arch = "wasm32"))]
        {
            let kind = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
            let polled = match wait {
                Wait::Blocking => poll(&self.device, kind),
                Wait::Async => poll_on_thread(&self.device, kind).await,
            };
            polled.map_err(|reason| {
                // The callback knows better why.
                let _ = poll(&self.device, wgpu::PollType::Poll);
                self.lost_error(during, reason)
            })?;
        }
        #[cfg(target_arch = "wasm32")]
        {
            // The browser polls by itself.
            let (_, _) = (submission, wait);
            let (sender, receiver) = futures_intrusive::channel::shared::oneshot_channel();
            self.queue.on_submitted_work_done(move || {
                let _ = sender.send(());
            });
            if receiver.receive().await.is_none() {
                return Err(self.lost_error(during, "the device gave no answer".to_owned()));
            }
        }
        self.check_alive(during)
    }
}

/// wgpu panics where a poll finds the device lost; here that is an error like any other. A poll also runs callbacks of the
/// program's own, and their panics are none of ours.
fn poll(device: &wgpu::Device, kind: wgpu::PollType) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(|| device.poll(kind))) {
        Ok(Ok(_)) => Ok(()),
        // A wait for a submission that the device never took: it was lost before.
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => match panic.downcast_ref::<String>() {
            Some(message) if message.contains("Device::poll") => Err(message.clone()),
            _ => resume_unwind(panic),
        },
    }
}

/// A native device makes progress only while somebody polls it. A thread of its own does so for the time of the wait, so
/// that the caller's executor neither blocks nor spins.
#[cfg(not(target_arch = "wasm32"))]
async fn poll_on_thread(device: &wgpu::Device, kind: wgpu::PollType) -> Result<(), String> {
    let (sender, receiver) = futures_intrusive::channel::shared::oneshot_channel();
    let (of_thread, kind_of_thread) = (device.clone(), kind.clone());
    let spawned = std::thread::Builder::new().name("wgpu-rnn wait".to_owned()).spawn(move || {
        // Nobody listens when the caller dropped its future.
        let _ = sender.send(poll(&of_thread, kind_of_thread));
    });
    match spawned {
        Ok(_) => receiver.receive().await.unwrap_or_else(|| Err("the thread that waited panicked".to_owned())),
        // To block is better than to fail.
        Err(_) => poll(device, kind),
    }
}
