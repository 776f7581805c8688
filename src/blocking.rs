//! The two ends of a call: one blocks, the other is awaited.

/// A call may block the calling thread until the GPU is done, or must leave it free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    #[cfg(not(target_arch = "wasm32"))]
    Blocking,
    Async,
}
