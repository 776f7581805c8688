//! The table of shader sources: a kernel is a concatenation of files, the same on every backend.

use crate::cell_kind::{CellKind, Nonlinearity};
use crate::plan::kernel::{Kernel, Role, Sources};
use crate::plan::optim::kernel::OptimKernel;
use crate::precision::Precision;

/// A file of shaders/.
#[derive(Clone, Copy, Debug)]
pub(crate) struct File {
    pub(crate) name: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(File { name: $name, text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $name)) }),*]
    };
}

mod backward;

impl Sources {
    /// Returns the files in order. A file may use names from any other: WGSL does not require an order.
    pub(crate) fn files(self) -> impl Iterator<Item = &'static File> {
        let chunks: &[File] = match self.kernel {
            Kernel::Optim(_) => &[],
            _ if self.wavefront => files!["base/wavefront.wgsl"],
            _ => files!["base/one_chunk.wgsl"],
        };
        let gates_of_product = self.cell.products().get(self.product).map_or(0, ExactSizeIterator::len);
        let of_cell: Vec<&[File]> = match self.kernel.role() {
            Role::InputProduct => vec![gates(self.cell), weights(self.precision, self.cell.gates())],
            Role::Recurrence => {
                let weights = weights(self.precision, gates_of_product);
                let cell = if self.general { general_cell } else { cell };
                vec![cell(self.cell, self.product), operand(self.product), weights]
            }
            Role::Projection | Role::Optim(_) => Vec::new(),
            Role::Backward(kernel) => backward::of_cell(kernel, self.cell, self.product),
        };
        [chunks].into_iter().chain(of_cell).chain(of_kernel(self.kernel)).flatten()
    }

    /// Returns the WGSL source.
    pub(crate) fn compose(self) -> String {
        self.files().map(|file| format!("// shaders/{}\n{}", file.name, file.text)).collect::<Vec<_>>().join("\n")
    }
}

/// Returns the gates of the input product.
fn gates(cell: CellKind) -> &'static [File] {
    match cell {
        CellKind::Lstm => files!["cell/gates_4.wgsl"],
        CellKind::Gru | CellKind::GruResetBefore => files!["cell/gates_3.wgsl"],
        CellKind::Rnn(_) => files!["cell/gates_1.wgsl"],
    }
}

/// Returns the files of a product's gates and of the cell that it is fused with.
fn cell(cell: CellKind, product: usize) -> &'static [File] {
    match (cell, product) {
        (CellKind::Lstm, _) => {
            files!["cell/gates_4.wgsl", "cell/one_product.wgsl", "cell/hand_on_h.wgsl", "cell/lstm.wgsl"]
        }
        (CellKind::Gru, _) => {
            files![
                "cell/gates_3.wgsl",
                "cell/one_product.wgsl",
                "cell/hand_on_h.wgsl",
                "cell/state_h.wgsl",
                "cell/gru.wgsl"
            ]
        }
        (CellKind::GruResetBefore, 0) => {
            files!["cell/gates_2.wgsl", "cell/input_gates_3.wgsl", "cell/two_products.wgsl", "cell/gru_reset.wgsl"]
        }
        (CellKind::GruResetBefore, _) => {
            files!["cell/gates_1.wgsl", "cell/input_gates_3.wgsl", "cell/two_products.wgsl", "cell/gru_new.wgsl"]
        }
        (CellKind::Rnn(Nonlinearity::Tanh), _) => files![
            "cell/gates_1.wgsl",
            "cell/one_product.wgsl",
            "cell/hand_on_h.wgsl",
            "cell/state_h.wgsl",
            "cell/rnn_tanh.wgsl",
            "cell/rnn.wgsl"
        ],
        (CellKind::Rnn(Nonlinearity::Relu), _) => files![
            "cell/gates_1.wgsl",
            "cell/one_product.wgsl",
            "cell/hand_on_h.wgsl",
            "cell/state_h.wgsl",
            "cell/rnn_relu.wgsl",
            "cell/rnn.wgsl"
        ],
    }
}

/// Returns the same for the cell with the options of ONNX.
fn general_cell(cell: CellKind, product: usize) -> &'static [File] {
    match (cell, product) {
        (CellKind::Lstm, _) => files![
            "cell/gates_4.wgsl",
            "cell/one_product.wgsl",
            "cell/hand_on_h.wgsl",
            "cell/activations.wgsl",
            "cell/general_lstm.wgsl"
        ],
        (CellKind::Gru, _) => files![
            "cell/gates_3.wgsl",
            "cell/one_product.wgsl",
            "cell/hand_on_h.wgsl",
            "cell/activations.wgsl",
            "cell/general_state_h.wgsl",
            "cell/general_gru.wgsl"
        ],
        (CellKind::GruResetBefore, 0) => files![
            "cell/gates_2.wgsl",
            "cell/input_gates_3.wgsl",
            "cell/two_products.wgsl",
            "cell/activations.wgsl",
            "cell/general_gru_reset.wgsl"
        ],
        (CellKind::GruResetBefore, _) => files![
            "cell/gates_1.wgsl",
            "cell/input_gates_3.wgsl",
            "cell/two_products.wgsl",
            "cell/activations.wgsl",
            "cell/general_gru_new.wgsl"
        ],
        (CellKind::Rnn(_), _) => files![
            "cell/gates_1.wgsl",
            "cell/one_product.wgsl",
            "cell/hand_on_h.wgsl",
            "cell/activations.wgsl",
            "cell/general_state_h.wgsl",
            "cell/general_rnn.wgsl"
        ],
    }
}

/// Returns the file of the vector that the weights multiply.
fn operand(product: usize) -> &'static [File] {
    if product == 0 { files!["operand/h.wgsl"] } else { files!["operand/gated.wgsl"] }
}

/// Returns the packing of the weights of `gates` gates of a unit.
fn weights(precision: Precision, gates: usize) -> &'static [File] {
    match (precision, gates) {
        (Precision::F32, _) => files!["weights/f32.wgsl"],
        (Precision::F16, 4) => files!["weights/f16_4.wgsl"],
        (Precision::F16, 3) => files!["weights/f16_3.wgsl"],
        (Precision::F16, 2) => files!["weights/f16_2.wgsl"],
        (Precision::F16, _) => files!["weights/f16_1.wgsl"],
    }
}

/// The files of both kernels of the input product.
const INPUT_PRODUCT: &[File] = files![
    "base/params.wgsl",
    "base/rows.wgsl",
    "base/chunk_rows.wgsl",
    "base/numeric.wgsl",
    "base/dropout.wgsl",
    "weights/blocks.wgsl",
    "operand/x_of_rows.wgsl",
    "input_product/bindings.wgsl",
    "product/four_rows.wgsl",
];

/// The files of all kernels that compute one step.
const STEP: &[File] = files![
    "base/params.wgsl",
    "base/rows.wgsl",
    "base/numeric.wgsl",
    "base/step.wgsl",
    "weights/blocks.wgsl",
    "step/recurrence.wgsl",
    "step/leave_h.wgsl",
    "step/unit.wgsl",
];

/// Returns all files except those of the cell, its weights and the number of chunks: the shared ones, then the
/// kernel's own. The last has the entry point.
fn of_kernel(kernel: Kernel) -> [&'static [File]; 2] {
    match kernel {
        Kernel::InputProduct => [INPUT_PRODUCT, files!["product/tiled.wgsl"]],
        Kernel::InputProductFewRows => {
            [INPUT_PRODUCT, files!["product/staged_rows.wgsl", "product/few_rows.wgsl", "input_product/few_rows.wgsl"]]
        }
        Kernel::StepOneRow => [STEP, files!["step/one_row.wgsl"]],
        Kernel::StepFewRows => [
            STEP,
            files!["product/four_rows.wgsl", "product/staged_rows.wgsl", "product/few_rows.wgsl", "step/few_rows.wgsl"],
        ],
        Kernel::StepManyRows => {
            [STEP, files!["product/four_rows.wgsl", "product/staged_rows.wgsl", "step/many_rows.wgsl"]]
        }
        Kernel::Sequence => [
            files![
                "base/params.wgsl",
                "base/rows.wgsl",
                "base/numeric.wgsl",
                "weights/blocks.wgsl",
                "step/recurrence.wgsl",
                "step/leave_h.wgsl",
            ],
            files!["sequence.wgsl"],
        ],
        Kernel::Projection => [
            files!["base/params.wgsl", "base/rows.wgsl", "base/step.wgsl", "step/leave_h.wgsl"],
            files!["step/projection.wgsl"],
        ],
        Kernel::Backward(kernel) => backward::of_kernel(kernel),
        Kernel::Optim(kernel) => [files!["optim/slot.wgsl"], of_optim(kernel)],
    }
}

/// Returns the files of a kernel of optimisers.
fn of_optim(kernel: OptimKernel) -> &'static [File] {
    match kernel {
        OptimKernel::SumSquares => files!["optim/sum_of_group.wgsl", "optim/squares.wgsl"],
        OptimKernel::Norm => files!["optim/sum_of_group.wgsl", "optim/clip.wgsl", "optim/norm.wgsl"],
        OptimKernel::Sgd => files!["optim/clip.wgsl", "optim/sgd.wgsl"],
        OptimKernel::Adam => files!["optim/clip.wgsl", "optim/adam.wgsl"],
        OptimKernel::Add => files!["optim/add.wgsl"],
    }
}

/// Returns the name of the kernel's entry point.
pub(crate) const fn entry_point(kernel: Kernel) -> &'static str {
    match kernel {
        Kernel::InputProduct => "tiled_product",
        Kernel::InputProductFewRows => "input_product_few_rows",
        Kernel::StepOneRow => "step_one_row",
        Kernel::StepFewRows => "step_few_rows",
        Kernel::StepManyRows => "step_many_rows",
        Kernel::Sequence => "sequence",
        Kernel::Projection => "projection",
        Kernel::Backward(kernel) => kernel.entry_point(),
        Kernel::Optim(kernel) => kernel.entry_point(),
    }
}

#[cfg(test)]
mod tests;
