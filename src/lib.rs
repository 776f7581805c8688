//! Recurrent neural layers on any GPU that [wgpu](https://wgpu.rs) reaches (Vulkan, Metal, DX12), and on the CPU where there is none, with
//! PyTorch's names, shapes and numbers.
//!
//! ```no_run
//! use wgpu_rnn::{Device, Lstm, Tensor};
//!
//! let device = Device::auto(); // the best GPU, else the CPU
//! let lstm = Lstm::from_safetensors("model.safetensors", "encoder.")?.to(&device)?;
//!
//! let x = Tensor::zeros([100, 8, lstm.config().input_size()])?; // [T, B, I]
//! let (output, state) = lstm.forward(&x, None)?; // as in PyTorch: [T, B, D·H] and h, c: [L·D, B, H]
//! # Ok::<(), wgpu_rnn::Error>(())
//! ```
//!
//! # How it fits together
//! A model is described once (a [`Config`] and weights make a [`Layer`]: an [`Lstm`], [`Gru`] or [`Rnn`]) and placed on a
//! [`Device`] ([`Placed`]): placing packs and uploads the weights, running only runs. A forward on a GPU is one submission and one readback; with
//! buffers of your own, [`Placed::encode`] records it between your own passes without either.
//!
//! Live data goes through [`Streams`], whose states stay on the device; a single step at a time through a [`Cell`]
//! ([`LstmCell`], [`GruCell`], [`RnnCell`]).
//!
//! # Legend
//! T time steps · B batch · I input features · H hidden size · P size of h (H without a projection) · L layers · D directions
//! (1 or 2). Arrays are written with their
//! shape, slowest dimension first. All numbers are plain values without units; files hold F32, F64, F16 or BF16, devices f32.
//!
//! # Number types
//! `Lstm<f32>` runs everywhere. `Lstm<f64>` runs on the CPU: it is the oracle that every GPU result of the test suite is
//! compared with.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
// Whatever input comes, the answer is a value or an error.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable))]

mod call;
mod cell;
mod cell_kind;
mod config;
mod cpu;
mod device;
mod dropout;
mod error;
mod extents;
mod gpu;
mod layer;
mod model;
mod options;
mod packed;
mod plan;
mod precision;
mod real;
mod results;
mod session;
mod shaders;
mod strategy;
mod tensor;
mod weights;

pub use cell::config::CellConfig;
pub use cell::placed::PlacedCell;
pub use cell::state::CellState;
pub use cell::{
    Cell, GruCell, GruCellConfig, GruCellState, LstmCell, LstmCellConfig, LstmCellState, PlacedGruCell, PlacedLstmCell,
    PlacedRnnCell, RnnCell, RnnCellConfig, RnnCellState,
};
pub use config::Nonlinearity;
pub use device::Device;
pub use error::{Error, Result};
pub use gpu::adapter::GpuOptions;
pub use layer::buffers::{BufferSizes, Buffers, DeviceArray};
pub use layer::config::Config;
pub use layer::kind::{GruKind, Kind, LstmKind, LstmState, RnnKind};
pub use layer::placed::{AllStates, Placed};
pub use layer::streams::{Slot, Streams};
pub use layer::{
    Gru, GruBuffers, GruConfig, GruStreams, Layer, Lstm, LstmBuffers, LstmConfig, LstmStreams, PlacedGru, PlacedLstm,
    PlacedRnn, Rnn, RnnBuffers, RnnConfig, RnnStreams,
};
pub use options::{Mode, Options};
pub use packed::PackedSequence;
pub use plan::Plan;
pub use precision::Precision;
pub use real::Real;
pub use shaders::{Shader, shaders};
pub use strategy::Strategy;
pub use tensor::{Tensor, TensorView};
pub use weights::LayerWeights;
pub use weights::concat_gates::{ConcatGates, Linear};
pub use weights::tensor_file::{RecurrentLayer, TensorFile};
/// The version of wgpu whose types this crate's functions take and give.
pub use wgpu;

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
