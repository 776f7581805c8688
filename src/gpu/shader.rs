//! The table of shader sources: a kernel is a concatenation of files, the same on every backend.

use crate::cell_kind::CellKind;
use crate::config::Nonlinearity;
use crate::plan::kernel::Kernel;
use crate::precision::Precision;

const ONE_CHUNK: &str = include_str!("../../shaders/chunks/one.wgsl");
const WAVE: &str = include_str!("../../shaders/chunks/wave.wgsl");
const COMMON: &str = include_str!("../../shaders/common.wgsl");
const LSTM: &str = include_str!("../../shaders/cell/lstm.wgsl");
const STATE_H: &str = include_str!("../../shaders/cell/state_h.wgsl");
const GRU: &str = include_str!("../../shaders/cell/gru.wgsl");
const RNN: &str = include_str!("../../shaders/cell/rnn.wgsl");
const RNN_TANH: &str = include_str!("../../shaders/cell/rnn_tanh.wgsl");
const RNN_RELU: &str = include_str!("../../shaders/cell/rnn_relu.wgsl");
const WEIGHTS_F32: &str = include_str!("../../shaders/weights/f32.wgsl");
const WEIGHTS_F16_4: &str = include_str!("../../shaders/weights/f16_4.wgsl");
const WEIGHTS_F16_3: &str = include_str!("../../shaders/weights/f16_3.wgsl");
const WEIGHTS_F16_1: &str = include_str!("../../shaders/weights/f16_1.wgsl");
const PROJECT: &str = include_str!("../../shaders/project.wgsl");
const RECURRENCE: &str = include_str!("../../shaders/recurrence.wgsl");
const INPUT_PRODUCT: &str = include_str!("../../shaders/input_product.wgsl");
const PROJECT_OCTETS: &str = include_str!("../../shaders/project_octets.wgsl");
const PROJECT_QUADS: &str = include_str!("../../shaders/project_quads.wgsl");
const QUADS: &str = include_str!("../../shaders/quads.wgsl");
const QUAD: &str = include_str!("../../shaders/quad.wgsl");
const OCTETS: &str = include_str!("../../shaders/octets.wgsl");
const ONE_STEP: &str = include_str!("../../shaders/one_step.wgsl");
const SEQUENCE: &str = include_str!("../../shaders/sequence.wgsl");
const STEP_ROW: &str = include_str!("../../shaders/step_row.wgsl");
const STEP_ROW_LENT: &str = include_str!("../../shaders/step_row_lent.wgsl");
const STAGE: &str = include_str!("../../shaders/stage.wgsl");
const STEP_WIDE: &str = include_str!("../../shaders/step_wide.wgsl");
const STEP_OCTETS: &str = include_str!("../../shaders/step_octets.wgsl");
const STEP: &str = include_str!("../../shaders/step.wgsl");
const DROPOUT: &str = include_str!("../../shaders/dropout.wgsl");
const SHRINK: &str = include_str!("../../shaders/shrink.wgsl");

/// The WGSL of a kernel for a cell with weights of a precision; `wave` says whether its dispatches are over several layers.
pub(crate) fn source(kernel: Kernel, cell: CellKind, precision: Precision, wave: bool) -> String {
    let weights = match (precision, cell) {
        (Precision::F32, _) => WEIGHTS_F32,
        (Precision::F16, CellKind::Lstm) => WEIGHTS_F16_4,
        (Precision::F16, CellKind::Gru) => WEIGHTS_F16_3,
        (Precision::F16, CellKind::Rnn(_)) => WEIGHTS_F16_1,
    };
    let cell: &[&str] = match cell {
        CellKind::Lstm => &[LSTM],
        CellKind::Gru => &[STATE_H, GRU],
        CellKind::Rnn(Nonlinearity::Tanh) => &[STATE_H, RNN_TANH, RNN],
        CellKind::Rnn(Nonlinearity::Relu) => &[STATE_H, RNN_RELU, RNN],
    };
    let body: &[&str] = match kernel {
        Kernel::Project => &[DROPOUT, INPUT_PRODUCT, QUAD, PROJECT],
        Kernel::ProjectQuads => &[DROPOUT, INPUT_PRODUCT, STAGE, QUAD, QUADS, PROJECT_QUADS],
        Kernel::ProjectOctets => &[DROPOUT, INPUT_PRODUCT, OCTETS, PROJECT_OCTETS],
        Kernel::Step => &[RECURRENCE, ONE_STEP, STAGE, QUAD, QUADS, STEP],
        Kernel::StepWide => &[RECURRENCE, ONE_STEP, STAGE, QUAD, STEP_WIDE],
        Kernel::StepOctets => &[RECURRENCE, ONE_STEP, OCTETS, STEP_OCTETS],
        Kernel::StepRow => &[RECURRENCE, ONE_STEP, STEP_ROW],
        Kernel::StepRowLent => &[RECURRENCE, ONE_STEP, STEP_ROW_LENT],
        Kernel::Sequence => &[RECURRENCE, SEQUENCE],
        Kernel::Shrink => &[SHRINK],
    };
    let chunks = if wave { WAVE } else { ONE_CHUNK };
    [&[chunks, COMMON], cell, &[weights], body].concat().join("\n")
}

/// The kernel's entry point in its file.
pub(crate) const fn entry_point(kernel: Kernel) -> &'static str {
    match kernel {
        Kernel::Project => "project",
        Kernel::Step => "step",
        Kernel::ProjectQuads => "project_quads",
        Kernel::ProjectOctets => "project_octets",
        Kernel::StepRow => "step_row",
        Kernel::StepRowLent => "step_row_lent",
        Kernel::StepWide => "step_wide",
        Kernel::StepOctets => "step_octets",
        Kernel::Sequence => "sequence",
        Kernel::Shrink => "shrink",
    }
}

#[cfg(test)]
mod tests;
