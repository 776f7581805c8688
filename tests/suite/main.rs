//! The test suite. GPU tests run on any adapter that wgpu finds, including software ones.
//!
//! With `WGPU_RNN_TEST_TILES=hardware`, a software adapter runs the tiles and strategies of a real GPU.
//!
//! With `WGPU_RNN_REQUIRE_GPU=1`, a missing adapter is a failure; without it, each GPU test prints that it was skipped.

mod all_states;
mod arguments;
mod battery;
mod cells;
mod chained_cells;
mod compare;
mod containers;
mod defects;
mod device_loss;
mod device_memory;
mod devices;
mod dropout;
mod encode;
mod encode_cell;
mod example_files;
mod extremes;
mod face;
mod files;
mod general_forms;
mod golden;
mod gradient_properties;
mod gradients;
mod gradients_example;
mod gradients_on_gpu;
mod idioms;
mod infer;
mod lengths;
mod limits;
mod optimisers;
mod optimisers_on_gpu;
mod packed;
mod pipeline_cache;
mod precision;
mod processes;
mod properties;
mod recorded_training;
mod rejected_files;
mod requests;
mod rooms;
mod saving;
mod sources;
mod strategies;
mod streams;
mod support;
mod tensor;
mod weights;
