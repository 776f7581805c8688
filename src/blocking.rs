//! The two ways to complete a call: one blocks, the other is awaited.

use std::future::poll_fn;
use std::task::Poll;

/// The way in which a call waits for the GPU: blocking the calling thread, or leaving it free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    #[cfg(not(target_arch = "wasm32"))]
    Blocking,
    Async,
}

impl Wait {
    /// Lets an executor run its other tasks, or drop this one, before a computation that holds its thread: an awaited
    /// call returns once, ready to be polled again. A blocking one goes on.
    pub(crate) async fn let_others_run(self) {
        let mut returns = self == Self::Async;
        poll_fn(|context| {
            if std::mem::take(&mut returns) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }
}
