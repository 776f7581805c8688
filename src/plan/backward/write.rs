//! Writes the bindings and the dispatches of a backward.

use super::Backward;
use super::kernel::BackwardKernel;
use super::weights::{self, WeightGradient};
use crate::error::Result;
use crate::plan::forward::{product_flops, product_work};
use crate::plan::input_product;
use crate::plan::kernel::{Kernel, PipelineKey, Sources, WeightArray};
use crate::plan::limits::{DeviceLimits, WORK_PER_BYTE, WORK_PER_DISPATCH};
use crate::plan::params::{ParamsLayout, Schedule};
use crate::plan::program::{self, Array, Binding, Dispatch, Name, Owner, Program};
use crate::plan::{GX_BUDGET, MAX_CHUNK_STEPS, projection};
use crate::precision::Precision;

impl Backward<'_> {
    /// Checks every limit except that of memory, and writes the program. `most_steps` is the most steps of a chunk.
    pub(super) fn write(self, most_steps: usize, limits: &DeviceLimits) -> Result<(Schedule, Program)> {
        let fixed = self.fixed_arrays();
        program::check_arrays(&fixed, limits)?;
        program::check_arrays(&self.chunk_arrays(1), limits)?;
        let time_steps = self.task.extents.steps_to_run();
        let chunk_steps = self.chunk_steps(most_steps, limits);
        let params = ParamsLayout::new(self.blocks(chunk_steps), limits)?;
        let schedule = Schedule { params, slices: params.blocks().slices, time_steps, chunk_steps };
        self.check(limits)?;
        let of_params = Array { name: Name::Params, bytes: params.bytes(), owner: Owner::Scratch };
        let arrays = [fixed, self.chunk_arrays(chunk_steps), vec![of_params]].concat();
        program::check_arrays(&arrays, limits)?;
        let step_stride = params.step_stride();
        let after = program::read_back(self.results().map(|(name, bytes)| (name, 0..bytes)));
        let mut program = Program::default();
        (program.arrays, program.step_stride, program.after) = (arrays, step_stride, after);
        for (layer, gradient) in self.weight_gradients() {
            program.clear(Name::WeightGradient { array: gradient.matrix.array, layer })?;
        }
        if time_steps == 0 {
            // Nothing runs, and gradients pass through or are zero.
            return Ok((schedule, program));
        }
        for layer in (0..self.config.num_layers).rev() {
            let kernels = Kernels::of_layer(self, layer, &mut program.bindings);
            program.clear(self.input_gradient_of(layer))?;
            for chunk in (0..schedule.chunks()).rev() {
                self.write_chunk(&kernels, &schedule, layer, chunk, &mut program)?;
            }
            program.repeat(1, kernels.sums(self.config.directions(), limits))?;
        }
        Ok((schedule, program))
    }

    /// Returns the steps of a chunk.
    fn chunk_steps(self, most_steps: usize, limits: &DeviceLimits) -> usize {
        let batch = self.task.extents.batch;
        let of_step = self.chunk_arrays(1).iter().map(|array| array.bytes).max().unwrap_or(0);
        let by_budget = GX_BUDGET.min(limits.storage_binding).min(limits.buffer) / of_step.max(1);
        let rows = u64::from(limits.groups_per_dimension) * self.choice.chunk.rows() as u64;
        let by_groups = rows.min(self.choice.input_product.max_rows(limits)) / (batch as u64).max(1);
        // A product over all rows of a chunk is one dispatch, which no submission can cut.
        let widest = self.config.widest_input().max(self.config.recurrent_size());
        let by_work = limits.submission_work / product_flops(self.config, batch, widest).max(1);
        let most = by_budget.min(by_groups).min(by_work).clamp(1, MAX_CHUNK_STEPS as u64);
        most_steps.min(most as usize)
    }

    fn check(self, limits: &DeviceLimits) -> Result<()> {
        let Self { config, choice, task } = self;
        let (batch, width) = (task.extents.batch, config.recurrent_size());
        choice.step.check(BackwardKernel::Step.name(), width, batch, limits)?;
        choice.chunk.check(BackwardKernel::InputGradient.name(), config.widest_input(), batch, limits)?;
        for (_, gradient) in self.weight_gradients() {
            gradient.check(BackwardKernel::InputWeights.name(), limits)?;
        }
        if BackwardKernel::recomputes(config.cell) {
            choice.input_product.check(config, batch as u64, limits)?;
            input_product::InputProductTile::Tiled.check(config, batch as u64, limits)?;
        }
        if config.is_projected() {
            projection::check(config, batch, limits)?;
        }
        Ok(())
    }

    fn write_chunk(
        self,
        kernels: &Kernels,
        schedule: &Schedule,
        layer: usize,
        chunk: usize,
        program: &mut Program,
    ) -> Result<()> {
        let Self { config, choice, task } = self;
        let (batch, directions, hidden) = (task.extents.batch, config.directions(), config.hidden_size);
        let (steps, width, features) =
            (schedule.steps_in(chunk), config.recurrent_size(), config.layer_input_size(layer));
        let rows = steps * batch;
        let block = |number| schedule.params.chunk_offset(layer, chunk, number);
        let whole = |binding, number, groups, work| Dispatch {
            binding,
            chunk_offset: block(number),
            step_offset: 0,
            groups,
            work,
        };
        if let Some(input_product) = kernels.input_product {
            let groups = choice.input_product.groups(rows, hidden, directions);
            let slices = (0..input_product::slices(features)).map(|slice| {
                let work = product_work(config, rows, input_product::slice(features, slice).len());
                whole(input_product, slice, groups, work)
            });
            program.repeat(1, slices)?;
            let groups = input_product::InputProductTile::Tiled.groups(rows, hidden, directions);
            let work = product_work(config, rows, width);
            program.repeat(1, kernels.recompute.iter().map(|&binding| whole(binding, 0, groups, work)))?;
        }
        // Blocks of steps count down to 0.
        let first_block = schedule.chunk_steps - steps;
        let step = |binding, groups| Dispatch {
            binding,
            chunk_offset: block(0),
            step_offset: schedule.params.step_offset(first_block),
            groups,
            work: product_work(config, batch, width),
        };
        let groups = choice.step.groups(width, batch, directions);
        let first = step(kernels.step, groups);
        let second = kernels.second.map(|binding| match config.is_projected() {
            true => step(binding, projection::groups(hidden, batch, directions)),
            false => step(binding, groups),
        });
        program.repeat(steps, [first].into_iter().chain(second))?;
        let step_offset = schedule.params.step_offset(schedule.chunk_steps);
        program.repeat(1, [Dispatch { step_offset, ..first }])?;
        for WeightKernels { gradient, binding, .. } in &kernels.weights {
            let groups = gradient.groups(directions);
            let rows_of_part = steps.div_ceil(gradient.parts) * batch;
            let slices = weights::slices(rows_of_part).enumerate().map(|(slice, (first, end))| {
                let work = product_work(config, (end - first) * gradient.parts, gradient.matrix.columns);
                whole(*binding, self.first_row_slice() + slice, groups, work)
            });
            program.repeat(1, slices)?;
        }
        let [x, y, _] = choice.chunk.groups(features, rows, 1);
        let work = product_work(config, rows, features);
        let of = |direction| whole(kernels.input_gradient, self.direction_block(direction), [x, y, 1], work);
        program.repeat(1, (0..directions).map(of))
    }
}

/// The bindings of a layer, as indices into [`Program::bindings`].
struct Kernels {
    /// `None` if no gates are recomputed.
    input_product: Option<usize>,
    recompute: Vec<usize>,
    step: usize,
    /// The kernel that follows a step: its second product, or the projection.
    second: Option<usize>,
    weights: Vec<WeightKernels>,
    input_gradient: usize,
}

/// The bindings of a gradient of weights.
struct WeightKernels {
    gradient: WeightGradient,
    binding: usize,
    /// The sum of its parts, if there are several.
    sum: Option<usize>,
}

impl Kernels {
    /// Adds the bindings of a layer to those of a program.
    fn of_layer(backward: Backward<'_>, layer: usize, bindings: &mut Vec<Binding>) -> Self {
        let Backward { config, choice, .. } = backward;
        let mut add = |binding| {
            bindings.push(binding);
            bindings.len() - 1
        };
        let mut of = |kernel, product| add(backward.binding(Kernel::Backward(kernel), product, layer, None));
        let recomputes = BackwardKernel::recomputes(config.cell);
        let products = if recomputes { config.cell.products().len() } else { 0 };
        let recompute = (0..products).map(|product| of(BackwardKernel::Recompute, product)).collect();
        let (step, second) = match config.is_projected() {
            true => (BackwardKernel::StepProjected, Some(BackwardKernel::Projection)),
            false => (BackwardKernel::Step, (config.cell.products().len() > 1).then_some(BackwardKernel::Reset)),
        };
        let (step, second) = (of(step, 0), second.map(|kernel| of(kernel, 0)));
        let input_gradient = of(BackwardKernel::InputGradient, 0);
        let input_product = recomputes.then(|| add(backward.binding(choice.input_product.kernel(), 0, layer, None)));
        let weights = backward.weights_of(layer).into_iter().map(|gradient| {
            let (kernel, product) = match gradient.matrix.array {
                WeightArray::Hh(product) => (BackwardKernel::RecurrentWeights, product),
                WeightArray::Hr => (BackwardKernel::ProjectionWeights, 0),
                _ => (BackwardKernel::InputWeights, 0),
            };
            let mut of =
                |kernel, product| add(backward.binding(Kernel::Backward(kernel), product, layer, Some(&gradient)));
            let binding = of(kernel, product);
            let sum = (gradient.parts > 1).then(|| of(BackwardKernel::SumParts, 0));
            WeightKernels { gradient, binding, sum }
        });
        let weights = weights.collect();
        Self { input_product, recompute, step, second, weights, input_gradient }
    }

    /// Returns the dispatches that sum the parts of the gradients of weights.
    fn sums(&self, directions: usize, limits: &DeviceLimits) -> impl Iterator<Item = Dispatch> {
        self.weights.iter().filter_map(move |WeightKernels { gradient, sum, .. }| {
            let (groups, work) = (gradient.sum_groups(directions, limits), gradient.bytes(directions) * WORK_PER_BYTE);
            let work = work * gradient.parts as u64 + WORK_PER_DISPATCH;
            sum.map(|binding| Dispatch { binding, chunk_offset: 0, step_offset: 0, groups, work })
        })
    }
}

impl Backward<'_> {
    /// Returns a kernel with the arrays that it binds.
    fn binding(self, kernel: Kernel, product: usize, layer: usize, gradient: Option<&WeightGradient>) -> Binding {
        let (config, cell) = (self.config, self.config.cell);
        let sources = Sources { kernel, cell, product, precision: Precision::F32, wavefront: false, general: false };
        let access = sources.storage_access();
        let names = self.names(kernel, layer, product, gradient);
        debug_assert_eq!(names.len(), access.len(), "{config}: {kernel:?}");
        let parts = gradient.map_or(1, |gradient| gradient.parts);
        let constants = self.choice.constants(kernel, parts, self.task.dropout);
        Binding { pipeline: PipelineKey { sources, constants }, storage: names.into_iter().zip(access).collect() }
    }

    /// Returns the arrays that a kernel binds, in order.
    fn names(self, kernel: Kernel, layer: usize, product: usize, gradient: Option<&WeightGradient>) -> Vec<Name> {
        let of_layer = |array| Name::Weights { array, layer };
        let array = gradient.map_or(WeightArray::Ih, |gradient| gradient.matrix.array);
        let gradient = Name::WeightGradient { array, layer };
        let (x, y, h_0) = (self.input_of(layer), self.output_of(layer), Name::InitialState(0));
        let Kernel::Backward(kernel) = kernel else {
            return vec![x, of_layer(WeightArray::Ih), of_layer(WeightArray::BiasIh), Name::Gx];
        };
        match kernel {
            BackwardKernel::Recompute => vec![
                Name::Gx,
                of_layer(WeightArray::Hh(product)),
                of_layer(WeightArray::BiasHh(product)),
                y,
                h_0,
                Name::Gates,
            ],
            BackwardKernel::Step | BackwardKernel::StepProjected => {
                let w_hh = of_layer(WeightArray::Hh(0));
                let mut names = vec![Name::Gates, w_hh, self.output_gradient_of(layer), Name::StateGradient(0)];
                names.extend(match self.config.cell.states().len() {
                    _ if kernel == BackwardKernel::StepProjected => vec![Name::DhRows],
                    1 if BackwardKernel::recomputes(self.config.cell) => vec![y, h_0],
                    1 => vec![y],
                    _ => vec![Name::StateGradient(1), Name::State(1)],
                });
                names
            }
            BackwardKernel::Reset => {
                vec![Name::Gates, of_layer(WeightArray::Hh(1)), Name::StateGradient(0), y, h_0]
            }
            BackwardKernel::Projection => vec![
                Name::Gates,
                of_layer(WeightArray::Hr),
                Name::DhRows,
                Name::Projected,
                Name::StateGradient(1),
                Name::State(1),
            ],
            BackwardKernel::InputWeights => vec![Name::Gates, gradient, x],
            BackwardKernel::RecurrentWeights => vec![Name::Gates, gradient, y, h_0],
            BackwardKernel::ProjectionWeights => vec![Name::DhRows, gradient, Name::Projected],
            BackwardKernel::SumParts => vec![gradient],
            BackwardKernel::InputGradient => {
                vec![Name::Gates, of_layer(WeightArray::Ih), self.input_gradient_of(layer)]
            }
        }
    }
}
