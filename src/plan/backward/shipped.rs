//! The kernels of the backward that ship: all that a plan may dispatch, on any device.

use super::kernel::BackwardKernel;
use super::{BackwardChoice, transposed, weights};
use crate::cell_kind::CellKind;
use crate::plan::input_product::InputProductTile;
use crate::plan::kernel::{Constants, Kernel, PipelineKey, Sources};
use crate::precision::Precision;

/// Returns every kernel that the backward of a plan may dispatch.
pub(crate) fn shipped() -> Vec<PipelineKey> {
    let mut keys: Vec<PipelineKey> = Vec::new();
    for (cell, kernel) in CellKind::ALL.into_iter().flat_map(|cell| BackwardKernel::ALL.map(|kernel| (cell, kernel))) {
        let products = if kernel.is_of(cell) { kernel.products(cell) } else { 0 };
        for product in 0..products {
            let kernel = Kernel::Backward(kernel);
            let sources =
                Sources { kernel, cell, product, precision: Precision::F32, wavefront: false, general: false };
            for constants in every_constants(kernel) {
                let key = PipelineKey { sources, constants };
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
    }
    keys
}

/// Returns the constants that a kernel may be specialized for, some of them more than once.
fn every_constants(kernel: Kernel) -> impl Iterator<Item = Constants> {
    let input_product = InputProductTile::Tiled;
    let of = |step, chunk| BackwardChoice { input_product, step, chunk, software: false };
    let [chunk, _] = transposed::CHUNK_TILES;
    let steps = transposed::TILES.map(|step| of(step, chunk));
    let chunks = transposed::CHUNK_TILES.map(|chunk| of(transposed::TILES[0], chunk));
    let choices = steps.into_iter().chain(chunks);
    // One part needs no sum.
    let first = usize::from(kernel == Kernel::Backward(BackwardKernel::SumParts));
    let parts = (first..=weights::MAX_PARTS.ilog2() as usize).map(|power| 1 << power);
    let all = parts.flat_map(|parts| [false, true].map(|dropout| (parts, dropout)));
    choices.flat_map(move |choice| all.clone().map(move |(parts, dropout)| choice.constants(kernel, parts, dropout)))
}
