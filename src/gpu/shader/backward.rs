//! The files of the kernels of the backward.

use super::{File, gates, weights};
use crate::cell_kind::{CellKind, Nonlinearity};
use crate::plan::backward::kernel::BackwardKernel;
use crate::precision::Precision;

/// Returns the files of a kernel that depend on the cell.
pub(super) fn of_cell(kernel: BackwardKernel, cell: CellKind, product: usize) -> Vec<&'static [File]> {
    let weights = weights(Precision::F32, cell.gates());
    match kernel {
        BackwardKernel::Recompute => vec![of_product(cell, product), weights, saved(cell), recompute(cell, product)],
        BackwardKernel::Step => {
            vec![of_product(cell, product), weights, saved(cell), delta_h(cell, product), step(cell)]
        }
        BackwardKernel::StepProjected => vec![of_product(cell, product), weights, saved(cell), delta_h(cell, product)],
        BackwardKernel::Reset => vec![of_product(cell, 1), weights, saved(cell), delta_h(cell, 1)],
        BackwardKernel::Projection => vec![of_product(cell, product), saved(cell), files!["cell/lstm_backward.wgsl"]],
        BackwardKernel::RecurrentWeights => {
            vec![of_product(cell, product), saved(cell), delta_h(cell, product), operand(product)]
        }
        BackwardKernel::InputWeights => vec![gates(cell), saved(cell), delta_x(cell)],
        BackwardKernel::InputGradient => vec![gates(cell), weights, saved(cell), delta_x(cell)],
        BackwardKernel::ProjectionWeights => vec![files!["cell/gates_1.wgsl"]],
        BackwardKernel::SumParts => Vec::new(),
    }
}

/// Returns all other files: the shared ones, then the kernel's own. The last has the entry point.
pub(super) fn of_kernel(kernel: BackwardKernel) -> [&'static [File]; 2] {
    match kernel {
        BackwardKernel::Recompute => [
            files![
                "base/params.wgsl",
                "base/rows.wgsl",
                "base/chunk_rows.wgsl",
                "base/numeric.wgsl",
                "weights/blocks.wgsl",
                "product/four_rows.wgsl",
                "backward/recompute.wgsl",
            ],
            files!["product/tiled.wgsl"],
        ],
        BackwardKernel::Step => [STEP, files!["backward/step.wgsl"]],
        BackwardKernel::StepProjected => {
            [STEP, files!["backward/dh_rows.wgsl", "backward/hand_on.wgsl", "backward/step.wgsl"]]
        }
        BackwardKernel::Reset => [STEP, files!["operand/h_before.wgsl", "backward/reset.wgsl"]],
        BackwardKernel::Projection => [
            files![
                "base/params.wgsl",
                "base/rows.wgsl",
                "base/numeric.wgsl",
                "base/slopes.wgsl",
                "base/step.wgsl",
                "backward/gates.wgsl",
                "backward/dh_rows.wgsl",
            ],
            files!["backward/projection.wgsl"],
        ],
        BackwardKernel::InputWeights => [
            WEIGHTS,
            files![
                "base/numeric.wgsl",
                "base/dropout.wgsl",
                "weights/blocks.wgsl",
                "operand/x_of_rows.wgsl",
                "backward/input_weights.wgsl",
                "backward/of_gates.wgsl",
                "backward/weight_gradient.wgsl",
            ],
        ],
        BackwardKernel::RecurrentWeights => [
            WEIGHTS,
            files![
                "weights/blocks.wgsl",
                "backward/recurrent_weights.wgsl",
                "backward/of_gates.wgsl",
                "backward/weight_gradient.wgsl",
            ],
        ],
        BackwardKernel::ProjectionWeights => [
            WEIGHTS,
            files!["backward/dh_rows.wgsl", "backward/projection_weights.wgsl", "backward/weight_gradient.wgsl"],
        ],
        BackwardKernel::SumParts => [&[], files!["backward/sum_parts.wgsl"]],
        BackwardKernel::InputGradient => [
            files![
                "base/params.wgsl",
                "base/rows.wgsl",
                "base/chunk_rows.wgsl",
                "base/numeric.wgsl",
                "base/dropout.wgsl",
                "weights/blocks.wgsl",
                "operand/x_of_rows.wgsl",
                "product/transposed.wgsl",
            ],
            files!["backward/input_gradient.wgsl"],
        ],
    }
}

/// The files of the kernels that compute one step by a transposed product.
const STEP: &[File] = files![
    "base/params.wgsl",
    "base/rows.wgsl",
    "base/numeric.wgsl",
    "base/slopes.wgsl",
    "base/step.wgsl",
    "weights/blocks.wgsl",
    "product/transposed.wgsl",
    "backward/gates.wgsl",
];

/// The files of all kernels of the gradients of weights.
const WEIGHTS: &[File] = files!["base/params.wgsl", "base/rows.wgsl", "base/chunk_rows.wgsl", "product/four_rows.wgsl"];

/// Returns the gates of a product of a step.
fn of_product(cell: CellKind, product: usize) -> &'static [File] {
    match (cell, product) {
        (CellKind::Lstm | CellKind::Gru | CellKind::Rnn(_), _) => gates(cell),
        (CellKind::GruResetBefore, 0) => files!["cell/gates_2.wgsl"],
        (CellKind::GruResetBefore, _) => files!["cell/gates_1.wgsl"],
    }
}

/// Returns what a unit saves for its backward.
fn saved(cell: CellKind) -> &'static [File] {
    match cell {
        CellKind::Lstm => files!["cell/lstm_saved.wgsl"],
        CellKind::Gru => files!["cell/gru_saved.wgsl"],
        CellKind::GruResetBefore => files!["cell/gru_reset_saved.wgsl"],
        CellKind::Rnn(_) => files!["cell/rnn_saved.wgsl"],
    }
}

/// Returns the gradient with respect to gx.
fn delta_x(cell: CellKind) -> &'static [File] {
    match cell {
        CellKind::Lstm | CellKind::Rnn(_) => files!["cell/delta.wgsl"],
        CellKind::Gru => files!["cell/gru_delta_x.wgsl"],
        CellKind::GruResetBefore => files!["cell/gru_reset_delta_x.wgsl"],
    }
}

/// Returns the gradient with respect to a product of a step.
fn delta_h(cell: CellKind, product: usize) -> &'static [File] {
    match (cell, product) {
        (CellKind::Lstm | CellKind::Rnn(_), _) => files!["cell/delta.wgsl"],
        (CellKind::Gru, _) => files!["cell/gru_delta_h.wgsl"],
        (CellKind::GruResetBefore, 0) => files!["cell/gru_reset_delta_h.wgsl"],
        (CellKind::GruResetBefore, _) => files!["cell/gru_new_delta_h.wgsl"],
    }
}

/// Returns the operand of a product of a step in all rows.
fn operand(product: usize) -> &'static [File] {
    match product {
        0 => files!["operand/h_before.wgsl", "operand/h_of_rows.wgsl"],
        _ => files!["operand/gated_of_rows.wgsl"],
    }
}

/// Returns the operand and the activations of a product of a step.
fn recompute(cell: CellKind, product: usize) -> &'static [File] {
    match (cell, product) {
        (CellKind::Lstm, _) => files![
            "cell/one_product.wgsl",
            "operand/h_before.wgsl",
            "operand/h_of_rows.wgsl",
            "cell/lstm_activate.wgsl"
        ],
        (CellKind::Gru, _) => {
            files!["cell/one_product.wgsl", "operand/h_before.wgsl", "operand/h_of_rows.wgsl", "cell/gru_activate.wgsl"]
        }
        (CellKind::GruResetBefore, 0) => files![
            "cell/input_gates_3.wgsl",
            "operand/h_before.wgsl",
            "operand/h_of_rows.wgsl",
            "cell/gru_reset_activate.wgsl"
        ],
        (CellKind::GruResetBefore, _) => {
            files!["cell/input_gates_3.wgsl", "operand/gated_of_rows.wgsl", "cell/gru_new_activate.wgsl"]
        }
        (CellKind::Rnn(_), _) => &[],
    }
}

/// Returns the cell of a step.
fn step(cell: CellKind) -> &'static [File] {
    match cell {
        CellKind::Lstm => files!["cell/lstm_backward.wgsl", "cell/lstm_arrive.wgsl"],
        CellKind::Gru => files!["operand/h_before.wgsl", "cell/gru_backward.wgsl"],
        CellKind::GruResetBefore => files!["operand/h_before.wgsl", "cell/gru_reset_backward.wgsl"],
        CellKind::Rnn(Nonlinearity::Tanh) => files!["cell/rnn_tanh_backward.wgsl", "cell/rnn_backward.wgsl"],
        CellKind::Rnn(Nonlinearity::Relu) => files!["cell/rnn_relu_backward.wgsl", "cell/rnn_backward.wgsl"],
    }
}
