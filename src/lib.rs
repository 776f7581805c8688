//! Recurrent neural layers on any GPU that [wgpu](https://wgpu.rs) supports (Vulkan, Metal, DX12), or on the CPU if
//! there is none, with PyTorch's names, shapes and numbers; models come from PyTorch, ONNX, Keras or NumPy.
//!
//! ```no_run
//! use wgpu_rnn::{Device, Lstm, Tensor};
//!
//! let device = Device::auto(); // the best GPU, or the CPU
//! let lstm = Lstm::from_safetensors("model.safetensors", "encoder.")?.to(&device)?;
//!
//! let x = Tensor::zeros([100, 8, lstm.config().input_size()])?; // [T, B, I]
//! let (output, state) = lstm.forward(&x, None)?; // as in PyTorch: [T, B, D·H] and h, c: [L·D, B, H]
//! # Ok::<(), wgpu_rnn::Error>(())
//! ```
//!
//! # Start here
//! | to | see |
//! |---|---|
//! | run PyTorch models | [`Lstm`], [`Gru`], [`Rnn`]: [`Layer::from_safetensors`], [`Layer::to`], [`Placed::forward`] |
//! | create models without a file | [`LstmConfig`] with [`Layer::random`], or [`LayerWeights`] with [`Layer::new`] |
//! | choose where it runs | [`Device::auto`], [`Device::gpu`], [`Device::cpu`] |
//! | ask more of a call: lengths, all states, only the last, an output in your memory | [`Placed::request`] |
//! | not block, in a server or a browser | `.await` a [`Request`] |
//! | give it your arrays | [`Tensor`], [`TensorView`] over a slice, [`AsView`]; with feature `ndarray` its arrays |
//! | follow live data | [`Placed::streams`], [`Streams`] |
//! | step by hand, as `LSTMCell` does | [`LstmCell`], [`GruCell`], [`RnnCell`], [`CellState`] |
//! | stack cells without the host in between | [`StepInput`] |
//! | work within your own wgpu program | [`Device::from_wgpu`], [`Placed::encode`], [`LstmBuffers`] |
//! | work on h and c between steps with kernels of your own | [`PlacedCell::encode`], [`LstmCellBuffers`] |
//! | load a hand-written LSTM, one Linear per gate | [`ConcatGates`] |
//! | see what a file holds, or load whatever layer it holds: ONNX, Keras, PyTorch, NumPy | [`Source`], [`Imported`], [`AnyLayer`] |
//! | read or write other tensors of a file | [`TensorFile`] |
//! | exchange packed sequences with PyTorch | [`PackedSequence`] |
//! | train: gradients of inputs, states and weights | [`Placed::forward_train`], [`Pass`], [`Gradients`] |
//! | change weights by their gradients | [`Optimizer`] with [`Sgd`], [`Adam`] or [`AdamW`] |
//! | train within your own wgpu program | [`Placed::encode_train`], [`RecordedPass`], [`Step::encode`] |
//! | train with dropout | [`Placed::set_mode`], [`Mode`] |
//! | halve the weights | [`Layer::place`], [`Precision`] |
//! | see or choose how it runs | [`Placed::plan`], [`Placed::set_strategy`], [`Placed::tune`], [`Placed::warm_up`] |
//!
//! # How it fits together
//! A model is described once (a [`Config`] and weights make a [`Layer`]: an [`Lstm`], [`Gru`] or [`Rnn`]) and placed on
//! a [`Device`] ([`Placed`]): placing packs and uploads the weights once. A forward on a GPU is one
//! submission and one readback; with buffers of your own, [`Placed::encode`] records it between your own passes and
//! needs neither.
//!
//! The everyday calls ([`to`](Layer::to), [`forward`](Placed::forward), [`push`](Streams::push),
//! [`step`](PlacedCell::step), [`encode`](Placed::encode)) are plain blocking methods. Every other option of a call is
//! set on a [`Request`], which can be completed in two ways: [`run`](Request::run) blocks, `.await` does not.
//!
//! # Legend
//! T time steps · B batch · I input features · H hidden size · P size of h (H without a projection) · L layers · D
//! directions (1 or 2). Arrays are given with their shape, slowest dimension first. All numbers are plain values
//! without units; files hold F32, F64, F16 or BF16, devices f32.
//!
//! # Number types
//! `Lstm<f32>` runs everywhere. `Lstm<f64>` runs on the CPU: the test suite compares every GPU result with it.
//!
//! # Cargo features
//! `onnx` (on by default, without a dependency), `keras`, `pytorch` and `npz`: the formats of [`Source`]. `ndarray`:
//! conversions between [`Tensor`], [`TensorView`] and the arrays of the ndarray crate, version 0.17.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
// Any input results in a value or an error.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable))]

mod activation;
mod as_view;
mod blocking;
mod call;
mod cell;
mod cell_kind;
mod config;
mod cpu;
mod device;
mod dropout;
mod error;
mod extents;
mod form;
mod formats;
mod gpu;
mod gradients;
mod layer;
mod memory;
mod mode;
mod model;
mod optim;
mod options;
mod packed;
mod pass;
mod plan;
mod precision;
mod real;
mod request;
mod results;
mod session;
mod shaders;
mod source;
mod strategy;
mod tensor;
mod weights;

pub use activation::Activation;
pub use as_view::AsView;
pub use cell::buffers::{CellBufferSizes, CellBuffers};
pub use cell::input::StepInput;
pub use cell::placed::PlacedCell;
pub use cell::state::CellState;
pub use cell::{
    Cell, CellConfig, GruCell, GruCellBuffers, GruCellConfig, GruCellState, LstmCell, LstmCellBuffers, LstmCellConfig,
    LstmCellState, PlacedGruCell, PlacedLstmCell, PlacedRnnCell, RnnCell, RnnCellBuffers, RnnCellConfig, RnnCellState,
};
pub use cell_kind::Nonlinearity;
pub use cpu::plan::CpuPlan;
pub use device::Device;
pub use error::{ArgumentMismatch, Error, OtherModel, Result};
pub use gpu::adapter::GpuOptions;
pub use layer::any::AnyLayer;
pub use layer::buffers::{BufferSizes, Buffers, DeviceArray};
pub use layer::config::{Config, ForCell, ForLayer, Module};
pub use layer::forward::AllStates;
pub use layer::gradient_buffers::GradientBuffers;
pub use layer::gradients::{Gradients, WeightGradients};
pub use layer::kind::{GruKind, Kind, LstmKind, LstmState, RnnKind};
pub use layer::placed::Placed;
pub use layer::plan::Plan;
pub use layer::record_train::RecordedPass;
pub use layer::slots::Slot;
pub use layer::streams::Streams;
pub use layer::train::Pass;
pub use layer::{
    Gru, GruBuffers, GruConfig, GruGradientBuffers, GruStreams, Layer, Lstm, LstmBuffers, LstmConfig,
    LstmGradientBuffers, LstmStreams, PlacedGru, PlacedLstm, PlacedRnn, Rnn, RnnBuffers, RnnConfig, RnnGradientBuffers,
    RnnStreams,
};
pub use mode::Mode;
pub use optim::Optimizer;
pub use optim::checkpoint::OptimizerState;
pub use optim::rule::{Adam, AdamW, Rule, Sgd};
pub use optim::step::Step;
pub use packed::PackedSequence;
pub use plan::Plan as GpuPlan;
pub use plan::backward::TrainingPlan;
pub use precision::Precision;
pub use real::Real;
pub use request::Request;
/// The number types of tensors in files, and the errors of the file format.
pub use safetensors::{Dtype, SafeTensorError};
pub use shaders::{Shader, shaders};
pub use source::Source;
pub use source::imported::{Imported, Merge};
pub use source::layer::SourceLayer;
pub use strategy::Strategy;
pub use tensor::{IntoElements, Tensor, TensorView};
pub use weights::LayerWeights;
pub use weights::concat_gates::{ConcatGates, GateLinear};
pub use weights::inventory::{CellInfo, LayerInfo, LayerKind};
pub use weights::tensor_file::TensorFile;
/// The version of wgpu whose types appear in this crate's API.
pub use wgpu;

/// The questions of a [`Request`]: the options that each type of call has in addition to its arguments.
pub mod questions {
    pub use crate::cell::placed::OneStep;
    pub use crate::layer::forward::Forward;
    pub use crate::layer::place::Place;
    pub use crate::layer::push::Push;
    pub use crate::layer::record::Encode;
    pub use crate::layer::record_train::EncodeTrain;
    pub use crate::layer::streams::NewStreams;
    pub use crate::request::{FromState, Plain, Rows};
}

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
