//! Cuts the time of a forward into chunks that fit the device, and writes its program.

use crate::error::Result;
use crate::plan::forward::{Forward, gx_array, product_flops};
use crate::plan::limits::{DeviceLimits, check};
use crate::plan::params::{Blocks, ParamsLayout, Schedule};
use crate::plan::program::{self, Array, Name, Owner, Program};
use crate::plan::strategy::Recurrence;
use crate::plan::{GX_BUDGET, MAX_CHUNK_STEPS, input_product, projection, wavefront};

impl Forward<'_> {
    /// Checks every limit, and cuts the time into chunks that stay within the memory that the forward may take.
    pub(super) fn write(self, limits: &DeviceLimits) -> Result<(Schedule, Program)> {
        let Self { config, choice, task, .. } = self;
        let batch = task.extents.batch;
        choice.input_product.check(config, batch as u64, limits)?;
        if let Recurrence::Steps(tile) | Recurrence::Wavefront(tile) = choice.recurrence {
            tile.check(config, batch, limits)?;
        }
        if config.is_projected() {
            projection::check(config, batch, limits)?;
        }
        let arrays = self.arrays();
        // Limits that do not depend on chunks come first: an input that is too large should not be reported as gx.
        program::check_arrays(&arrays, limits)?;
        let gx_of_step = self.gx_of_step();
        program::check_arrays(&[gx_array(gx_of_step)], limits)?;
        let (schedule, arrays) = self.within(&arrays, gx_of_step, limits)?;
        program::check_arrays(&arrays, limits)?;
        let mut program = Program::default();
        program.arrays = arrays;
        if schedule.time_steps == 0 {
            // The initial state is the last one, and nothing runs.
            return Ok((schedule, program));
        }
        (program.bindings, program.after) = (self.bindings(), self.after());
        program.step_stride = schedule.params.step_stride();
        self.dispatch(&schedule, &mut program)?;
        Ok((schedule, program))
    }

    /// Returns the longest chunks that fit the memory of the forward. Fewer steps per chunk need a smaller gx and fewer
    /// blocks of steps, but more chunks need more blocks of chunks.
    pub(super) fn within(
        self,
        fixed: &[Array],
        gx_of_step: u64,
        limits: &DeviceLimits,
    ) -> Result<(Schedule, Vec<Array>)> {
        let time_steps = self.task.extents.steps_to_run();
        let of = |chunk_steps: usize| {
            let slices = input_product::slices(self.config.widest_input());
            let params = ParamsLayout::new(self.blocks(slices, time_steps, chunk_steps), limits)?;
            let schedule = Schedule { params, slices, time_steps, chunk_steps };
            let gx = gx_array(gx_of_step.saturating_mul(chunk_steps as u64));
            let params = Array { name: Name::Params, bytes: params.bytes(), owner: Owner::Scratch };
            Ok((schedule, [fixed, &[gx, params]].concat()))
        };
        let mut cut = of(self.chunk_steps(time_steps, gx_of_step, limits))?;
        let mut least = program::memory(&cut.1);
        while program::memory(&cut.1) > limits.forward_memory {
            let schedule = &cut.0;
            // One more chunk, all of them as short as that allows.
            let shorter = time_steps.div_ceil(schedule.chunks() + 1).min(schedule.chunk_steps.saturating_sub(1));
            let (1.., Ok(next)) = (shorter, of(shorter)) else {
                check("a forward", "the bytes that set_memory_limit allows", least, limits.forward_memory)?;
                break;
            };
            cut = next;
            least = least.min(program::memory(&cut.1));
        }
        Ok(cut)
    }

    /// Returns the steps of a chunk, if the memory of the forward allows them.
    fn chunk_steps(self, time_steps: usize, gx_of_step: u64, limits: &DeviceLimits) -> usize {
        let Self { config, choice, task, .. } = self;
        let batch = task.extents.batch;
        let most_gx = GX_BUDGET.min(limits.storage_binding).min(limits.buffer);
        let by_budget = (most_gx / gx_of_step.max(1)).max(1);
        let by_groups = (choice.input_product.max_rows(limits) / (batch as u64).max(1)).max(1);
        // The input product of a chunk is one dispatch, which no submission can cut; so is a sequence.
        let slice = config.widest_input().min(input_product::MAX_FEATURES);
        let (of_sequence, by_turns) = match choice.recurrence {
            Recurrence::Steps(_) | Recurrence::Wavefront(_) => (0, MAX_CHUNK_STEPS),
            Recurrence::Sequence(tile) => (self.step_work(), tile.max_steps(config.hidden_size)),
        };
        let of_step = product_flops(config, batch, slice).max(of_sequence);
        let by_work = (limits.submission_work / of_step.max(1)).max(1);
        let most = by_budget.min(by_groups).min(by_work).min(MAX_CHUNK_STEPS.min(by_turns) as u64);
        let wanted =
            if self.is_wavefront() { wavefront::chunk_steps(time_steps, config.num_layers) } else { time_steps };
        wanted.min(most as usize)
    }

    /// Returns the number of parameter blocks of each type.
    fn blocks(self, slices: usize, time_steps: usize, chunk_steps: usize) -> Blocks {
        let (layers, chunks) = (self.config.num_layers, time_steps.div_ceil(chunk_steps.max(1)));
        let (waves, steps) = match self.choice.recurrence {
            Recurrence::Steps(_) => (0, chunk_steps),
            Recurrence::Sequence(_) => (0, 0),
            Recurrence::Wavefront(_) => (wavefront::waves(layers, chunks).count(), chunk_steps),
        };
        Blocks { layers, chunks, slices, waves, steps }
    }
}
