//! The table of shader sources: a kernel is a concatenation of files, the same on every backend.

use crate::cell::CellKind;
use crate::plan::Kernel;

const COMMON: &str = include_str!("../../shaders/common.wgsl");
const LSTM: &str = include_str!("../../shaders/cell/lstm.wgsl");
const PROJECT: &str = include_str!("../../shaders/project.wgsl");
const STEP: &str = include_str!("../../shaders/step.wgsl");

/// The WGSL of a kernel for a cell.
pub(crate) fn source(kernel: Kernel, cell: CellKind) -> String {
    let cell = match cell {
        CellKind::Lstm => LSTM,
    };
    let body = match kernel {
        Kernel::Project => PROJECT,
        Kernel::Step => STEP,
    };
    [COMMON, cell, body].join("\n")
}

/// The kernel's entry point in its file.
pub(crate) const fn entry_point(kernel: Kernel) -> &'static str {
    match kernel {
        Kernel::Project => "project",
        Kernel::Step => "step",
    }
}

#[cfg(test)]
mod tests;
