//! A wgpu device whose failures become errors: rejected calls, lost devices and failed waits alike.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use crate::blocking::Wait;
use crate::error::{Error, Result};
#[cfg(target_arch = "wasm32")]
use crate::gpu::unanswered::Unanswered;
#[cfg(not(target_arch = "wasm32"))]
use crate::gpu::wait::{deliver_news, go_on_panicking, wait_here, wait_on_thread};

/// The kinds of errors that calls are checked for. In browsers, wgpu panics on a scope for internal errors, which none
/// of the crate's calls raise there.
#[cfg(not(target_arch = "wasm32"))]
const FILTERS: [wgpu::ErrorFilter; 3] =
    [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation];
#[cfg(target_arch = "wasm32")]
const FILTERS: [wgpu::ErrorFilter; 2] = [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation];

#[derive(Debug)]
pub(crate) struct GuardedDevice {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    /// The reason that the device was lost. A device has only one lost callback, so a caller's own device has none of
    /// the crate's; there, a loss is noticed when a result is waited for.
    lost: Arc<OnceLock<String>>,
    /// Bytes written since the last wait for writes.
    pub(crate) unflushed: Arc<AtomicUsize>,
    /// The pending error scopes of one call.
    #[cfg(target_arch = "wasm32")]
    unanswered: Option<Unanswered>,
}

impl GuardedDevice {
    /// Wraps a device owned by this crate, which records its loss.
    pub(crate) fn own(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let guarded = Self::borrowed(device, queue);
        let lost = Arc::clone(&guarded.lost);
        guarded.device.set_device_lost_callback(move |reason, message| {
            // Later invocations of the callback change nothing: the first reason is the cause.
            let _ = lost.set(format!("{reason:?} {message}").trim().to_owned());
        });
        guarded
    }

    /// Wraps a caller's device: its error and loss handlers stay untouched.
    pub(crate) fn borrowed(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        Self {
            device,
            queue,
            lost: Arc::default(),
            unflushed: Arc::default(),
            #[cfg(target_arch = "wasm32")]
            unanswered: None,
        }
    }

    /// Returns the device for one call, which ends with [`settle`](Self::settle). In a browser, each query of an error
    /// scope is a round trip to another process, so the queries of a call are issued one after another and awaited
    /// together. Native drivers answer every query immediately.
    pub(crate) fn for_call(&self) -> Self {
        Self {
            device: self.device.clone(),
            queue: self.queue.clone(),
            lost: Arc::clone(&self.lost),
            unflushed: Arc::clone(&self.unflushed),
            #[cfg(target_arch = "wasm32")]
            unanswered: Some(Unanswered::default()),
        }
    }

    /// Returns the first error of this call that has not been returned yet. Until then, its results may be wrong.
    pub(crate) async fn settle(&self) -> Result<()> {
        #[cfg(target_arch = "wasm32")]
        if let Some(unanswered) = &self.unanswered {
            for (during, question) in unanswered.take() {
                if let Some(error) = question.await {
                    return Err(self.error(during, error));
                }
            }
        }
        Ok(())
    }

    /// Returns an error if the device is known to be lost. After a loss, wgpu answers calls with misleading errors or
    /// none, so this is checked first.
    pub(crate) fn check_alive(&self, during: &'static str) -> Result<()> {
        match self.lost.get() {
            Some(reason) => Err(Error::DeviceLost { during, reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Runs wgpu calls and returns the error that any of them raised. Error scopes see only the calls of this thread,
    /// and leave the handlers of a caller's device alone.
    pub(crate) async fn scoped<T>(&self, during: &'static str, calls: impl FnOnce() -> T) -> Result<T> {
        self.check_alive(during)?;
        let scopes = FILTERS.map(|filter| self.device.push_error_scope(filter));
        let value = calls();
        // All scopes end, innermost first, before the first await: a guard belongs to this thread.
        let questions: Vec<_> = scopes.into_iter().rev().map(wgpu::ErrorScopeGuard::pop).collect();
        #[cfg(target_arch = "wasm32")]
        if let Some(unanswered) = &self.unanswered {
            unanswered.add(during, questions);
            return Ok(value);
        }
        for question in questions {
            if let Some(error) = question.await {
                return Err(self.error(during, error));
            }
        }
        Ok(value)
    }

    /// Converts an error of wgpu. On a lost device, where calls are rejected for misleading reasons, returns the loss
    /// instead.
    fn error(&self, during: &'static str, error: wgpu::Error) -> Error {
        // Polling delivers the notification of a loss.
        #[cfg(not(target_arch = "wasm32"))]
        deliver_news(&self.device);
        if let Err(lost) = self.check_alive(during).and_then(|()| self.probe(during)) {
            return lost;
        }
        let foreign = if names_foreign_buffer(&error) { "one of the buffers is of another wgpu::Device: " } else { "" };
        let message = format!("{foreign}{error}");
        match error {
            wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory { during, message },
            _ => Error::Gpu { during, message },
        }
    }

    /// Returns an error if the device no longer accepts work. This is the only way to learn of the loss of a caller's
    /// own device, after which calls are rejected for misleading reasons.
    fn probe(&self, during: &'static str) -> Result<()> {
        #[cfg(not(target_arch = "wasm32"))]
        {
            let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
            let submission = self.queue.submit([]);
            // An error of this call carries no new information.
            drop(scope.pop());
            wait_here(&self.device, &submission, go_on_panicking).map_err(|reason| self.lost_error(during, reason))?;
        }
        self.check_alive(during)
    }

    /// Returns the error for a loss of the device that showed as a failed wait or mapping; later calls will return the
    /// same.
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
                // The callback knows the reason better.
                deliver_news(&self.device);
                self.lost_error(during, reason)
            })?;
        }
        #[cfg(target_arch = "wasm32")]
        {
            // The browser polls on its own.
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

/// Returns whether wgpu says that a buffer belongs to another device, in words that name both devices by their labels,
/// which mostly are the same. The type of that error is wgpu-core's, which is no dependency of this crate, so the words
/// are searched; if another release of wgpu chooses others, they come without the explanation.
fn names_foreign_buffer(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    causes.any(|words| words.contains(" of Buffer with '") && words.contains("' label doesn't match Device with '"))
}
