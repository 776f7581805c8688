//! The GPU path: all code that names a wgpu type.

pub(crate) mod adapter;
pub(crate) mod arrays;
pub(crate) mod context;
pub(crate) mod gradients;
mod guarded;
pub(crate) mod instance;
pub(crate) mod model;
pub(crate) mod optim;
mod pipeline;
pub(crate) mod record_train;
mod run;
pub(crate) mod session;
pub(crate) mod shader;
pub(crate) mod train;
mod transfer;
#[cfg(not(target_arch = "wasm32"))]
mod tune;
mod tuned;
#[cfg(target_arch = "wasm32")]
mod unanswered;
#[cfg(not(target_arch = "wasm32"))]
mod wait;
mod weights;
pub(crate) mod workspace;

#[cfg(test)]
mod bits;
#[cfg(test)]
mod tests;
