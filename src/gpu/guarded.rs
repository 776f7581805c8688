//! A wgpu device whose calls are answered with errors: refused calls, lost devices and failed waits alike.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
#[cfg(not(target_arch = "wasm32"))]
use std::time::Duration;

use crate::gpu::Wait;
use crate::{Error, Result};

/// The errors that calls are asked for. wgpu panics in browsers on a scope for internal errors, which none of our calls raise there.
#[cfg(not(target_arch = "wasm32"))]
const FILTERS: [wgpu::ErrorFilter; 3] =
    [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation];
#[cfg(target_arch = "wasm32")]
const FILTERS: [wgpu::ErrorFilter; 2] = [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation];

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
        let scopes = FILTERS.map(|filter| self.device.push_error_scope(filter));
        let value = calls();
        // All scopes end, innermost first, before the first await: a guard belongs to this thread. A browser has all questions before
        // it answers the first, which is one round trip.
        let errors: Vec<_> = scopes.into_iter().rev().map(wgpu::ErrorScopeGuard::pop).collect();
        for error in errors {
            if let Some(error) = error.await {
                // A call on a lost device is refused for other reasons; a poll delivers the news of the loss.
                deliver_news(&self.device);
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
            wait_here(&self.device, &submission, go_on_panicking).map_err(|reason| self.lost_error(during, reason))?;
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
            let waited = match wait {
                Wait::Blocking => wait_here(&self.device, &submission, go_on_panicking),
                Wait::Async => wait_on_thread(&self.device, &submission).await,
            };
            waited.map_err(|reason| {
                // The callback knows better why.
                deliver_news(&self.device);
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

/// How a poll ended that did not succeed.
#[derive(Debug)]
enum Failed {
    /// The work takes longer than one poll waits.
    TimedOut,
    /// The device is lost, for this reason.
    Lost(String),
    /// A callback of the program's own panicked, which says nothing about the device; the poll may have ended before others.
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

/// Has wgpu call the lost callback, if the device is lost. A panic of a callback of the program's own goes on in this thread, which is
/// the one that wgpu called it on.
fn deliver_news(device: &wgpu::Device) {
    if let Err(Failed::CallbackPanicked(panic)) = poll(device, wgpu::PollType::Poll) {
        resume_unwind(panic);
    }
}

/// How long one poll waits at most. All OpenGL devices share a lock that wgpu holds for that time, and gives up on, with a panic,
/// after six seconds.
#[cfg(not(target_arch = "wasm32"))]
const POLL_TIME: Duration = Duration::from_millis(50);

/// Waits on this thread until a submission is done, however long that takes; on failure returns why the device is lost.
#[cfg(not(target_arch = "wasm32"))]
fn wait_here(
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
#[cfg(not(target_arch = "wasm32"))]
fn go_on_panicking(panic: Box<dyn Any + Send>) {
    resume_unwind(panic)
}

/// A native device makes progress only while somebody polls it. A thread of its own does so for the time of the wait, so
/// that the caller's executor neither blocks nor spins.
#[cfg(not(target_arch = "wasm32"))]
async fn wait_on_thread(device: &wgpu::Device, submission: &wgpu::SubmissionIndex) -> Result<(), String> {
    let (sender, receiver) = futures_intrusive::channel::shared::oneshot_channel();
    let (of_thread, submission_of_thread) = (device.clone(), submission.clone());
    let spawned = std::thread::Builder::new().name("wgpu-rnn wait".to_owned()).spawn(move || {
        // A panic was reported as one of this thread, and ends nothing else. Each callback is called once, so that the wait
        // comes to an end.
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
