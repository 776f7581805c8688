//! The two ways to complete a call: one blocks, the other is awaited.

/// The way in which a call waits for the GPU: blocking the calling thread, or leaving it free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    #[cfg(not(target_arch = "wasm32"))]
    Blocking,
    Async,
}
