//! The kernels that ship: all kernels that a plan may dispatch, on any device.

use crate::cell_kind::CellKind;
use crate::form::Form;
use crate::plan::input_product::{self, InputProductTile};
use crate::plan::kernel::{Kernel, PipelineKey, Sources};
use crate::plan::strategy::{Choice, Recurrence};
use crate::plan::{backward, optim, sequence, step};
use crate::precision::Precision;

/// Returns every kernel that a plan may dispatch: kernels × cells × precisions × tiles, with and without dropout, for
/// one layer and for several; of the cells with options of ONNX, one form.
pub(crate) fn shipped() -> Vec<PipelineKey> {
    let mut keys = Vec::new();
    for (cell, precision) in CellKind::ALL.into_iter().flat_map(|cell| Precision::ALL.map(|p| (cell, p))) {
        let sources = |kernel, product, wavefront| {
            let general = false;
            Sources { kernel, cell, product, precision, wavefront, general }
        };
        for (tile, dropout) in input_product::TILES.into_iter().flat_map(|tile| [(tile, false), (tile, true)]) {
            keys.push(key(sources(tile.kernel(), 0, false), choice(tile, ANY), false, dropout));
        }
        let products = cell.products().len();
        let last: &[bool] = if cell.projects() { &[false, true] } else { &[false] };
        for product in 0..products {
            let mut add = |recurrence: Recurrence, hands_on| {
                let sources = sources(recurrence.kernel(), product, recurrence.is_wavefront());
                let plain = key(sources, choice(InputProductTile::Tiled, recurrence), hands_on, false);
                let mut constants = Form::with_every_option(cell).constants(cell);
                constants.extend(plain.constants.clone());
                keys.extend([plain, PipelineKey { sources: Sources { general: true, ..sources }, constants }]);
            };
            for &hands_on in if product + 1 == products { last } else { &[true] } {
                step::TILES.into_iter().for_each(|tile| add(Recurrence::Steps(tile), hands_on));
            }
            // Layers overlap, and a dispatch runs a whole sequence, only if a step is one dispatch.
            if products == 1 {
                step::TILES.into_iter().for_each(|tile| add(Recurrence::Wavefront(tile), false));
                sequence::tiles().for_each(|tile| add(Recurrence::Sequence(tile), false));
            }
        }
        if cell.projects() {
            keys.push(key(sources(Kernel::Projection, 0, false), choice(InputProductTile::Tiled, ANY), false, false));
        }
    }
    keys.extend(backward::shipped::shipped());
    keys.extend(optim::shipped());
    keys
}

/// A recurrence for choices whose kernel does not depend on it.
const ANY: Recurrence = Recurrence::Steps(step::TILES[0]);

fn choice(input_product: InputProductTile, recurrence: Recurrence) -> Choice {
    Choice { input_product, recurrence, why: "" }
}

fn key(sources: Sources, choice: Choice, hands_on: bool, dropout: bool) -> PipelineKey {
    PipelineKey { sources, constants: choice.constants(sources.kernel.role(), hands_on, dropout) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::call::{Results, Task};
    use crate::cell_kind::Nonlinearity;
    use crate::config::RecurrentConfig;
    use crate::extents::Extents;
    use crate::plan::Plan;
    use crate::plan::backward::TrainingPlan;
    use crate::plan::kernel::Role;
    use crate::plan::limits::DeviceLimits;
    use crate::plan::optim::kernel::OptimKernel;
    use crate::plan::tests::limits;
    use crate::strategy::Strategy;

    /// Plans over cells, shapes, strategies and devices dispatch exactly these kernels.
    #[test]
    fn the_kernels_that_ship_are_those_that_plans_dispatch() {
        let mut planned = HashSet::new();
        let large = DeviceLimits { workgroup_invocations: 1024, workgroup_size: [1024, 1024, 64], ..limits() };
        let devices = [limits(), large, DeviceLimits { workgroup_invocations: 512, ..large }];
        let devices = devices.map(|device| DeviceLimits { workgroup_storage: 32_768, ..device });
        for (cell, hidden) in CellKind::ALL.into_iter().flat_map(|cell| HIDDEN.map(|hidden| (cell, hidden))) {
            for (batch, layers) in [1, 2, 5, 9, 20, 500].into_iter().flat_map(|batch| [(batch, 1), (batch, 2)]) {
                let plain = RecurrentConfig { num_layers: layers, ..RecurrentConfig::one_layer(cell, 3, hidden) };
                let proj_size = if cell == CellKind::Lstm { hidden / 2 } else { 0 };
                let general = RecurrentConfig { form: Form::with_every_option(cell), ..plain.clone() };
                let projected = [&plain, &general].map(|config| RecurrentConfig { proj_size, ..config.clone() });
                for config in [plain, general].into_iter().chain(projected) {
                    for limits in devices.iter().flat_map(|&d| [d, DeviceLimits { software: true, ..d }]) {
                        planned.extend(planned_for(&config, batch, &limits));
                    }
                }
            }
        }
        let of_steps = |kernel| optim::update(kernel, &[1], &limits()).unwrap();
        let of_optimisers = [OptimKernel::Sgd, OptimKernel::Adam].map(of_steps).into_iter();
        let others = [optim::norm(&[1], &limits()).unwrap(), optim::add(&[1], &limits()).unwrap()];
        let bindings = of_optimisers.chain(others).flat_map(|program| program.bindings);
        planned.extend(bindings.map(|binding| binding.pipeline));
        let shipped: HashSet<_> = shipped().into_iter().collect();
        assert_eq!(planned.difference(&shipped).collect::<Vec<_>>(), Vec::<&PipelineKey>::new());
        assert_eq!(shipped.difference(&planned).collect::<Vec<_>>(), Vec::<&PipelineKey>::new());
    }

    const HIDDEN: [usize; 9] = [7, 30, 64, 100, 256, 500, 700, 1000, 2048];

    fn planned_for(config: &RecurrentConfig, batch: usize, limits: &DeviceLimits) -> HashSet<PipelineKey> {
        let mut planned = HashSet::new();
        let task = Task::forward(Extents::batched(config, 2, batch));
        for (strategy, dropout) in Strategy::ALL.into_iter().flat_map(|s| [(s, false), (s, true)]) {
            for precision in Precision::ALL {
                let Ok(plan) = Plan::new(config, precision, Task { strategy, dropout, ..task }, limits) else {
                    continue;
                };
                planned.extend(plan.program.bindings.into_iter().map(|binding| binding.pipeline));
            }
            let results = Results::Training;
            if let Ok(TrainingPlan { backward, .. }) =
                TrainingPlan::new(config, Task { dropout, results, ..task }, limits)
            {
                planned.extend(backward.program.bindings.into_iter().map(|binding| binding.pipeline));
            }
        }
        planned
    }

    #[test]
    fn no_kernel_is_listed_twice() {
        let all = shipped();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        assert!(all.iter().any(|key| key.sources.cell == CellKind::Rnn(Nonlinearity::Relu)));
        assert!(all.iter().any(|key| key.sources.kernel.role() == Role::Projection));
    }
}
