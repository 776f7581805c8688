//! The kernel calls of a plan, in order, and how they are cut into submissions.

use std::ops::Range;

use crate::config::RecurrentConfig;
use crate::plan::kernel::Kernel;
use crate::plan::limits::{WORK_PER_BYTE, WORK_PER_DISPATCH};
use crate::plan::strategy::Recurrence;
use crate::plan::{F32, Plan, product_flops, project, shrink, wave};

/// One call of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dispatch {
    pub(crate) kernel: Kernel,
    pub(crate) layer: usize,
    /// Where the chunk's block lies in the parameter buffer, in bytes.
    pub(crate) chunk_offset: u32,
    /// Where the step's block lies there; steps only.
    pub(crate) step_offset: u32,
    pub(crate) groups: [u32; 3],
    /// How long it may take, by the measure of [`SUBMISSION_WORK`](super::limits::SUBMISSION_WORK).
    pub(crate) work: u64,
}

impl Plan {
    /// Every dispatch in order. Nothing is allocated.
    pub(crate) fn dispatches(&self) -> impl Iterator<Item = Dispatch> + '_ {
        let wave = self.choice.recurrence.is_wave();
        let (layers, waves) = if wave { (0, self.chunks()) } else { (self.config.num_layers, 0) };
        let layer_by_layer = (0..layers).flat_map(move |layer| {
            (0..self.chunks())
                .flat_map(move |chunk| self.project_dispatches(layer, chunk).chain(self.turns(layer, chunk)))
        });
        let waves = wave::waves(self.config.num_layers, waves).enumerate();
        layer_by_layer.chain(waves.flat_map(move |(wave, layers)| {
            let products = layers.clone().flat_map(move |layer| self.project_dispatches(layer, wave - layer));
            let steps = self.steps_of_wave(wave, &layers);
            products.chain((0..steps).map(move |step| self.wave_dispatch(wave, layers.len(), step)))
        }))
    }

    /// The steps of a wave: those of its topmost layer, which is at the earliest chunk, and so has as many as any.
    fn steps_of_wave(&self, wave: usize, layers: &Range<usize>) -> usize {
        self.steps_in(wave + 1 - layers.end)
    }

    /// The dispatches of the recurrence of a chunk.
    fn turns(&self, layer: usize, chunk: usize) -> impl Iterator<Item = Dispatch> + '_ {
        (0..self.turns_of(self.steps_in(chunk))).flat_map(move |turn| {
            let kernels = self.kernels_of_recurrence();
            kernels.map(move |kernel| self.recurrence_dispatch(kernel, layer, chunk, turn))
        })
    }

    /// How often the kernels of the recurrence run for so many steps.
    fn turns_of(&self, steps: usize) -> usize {
        match self.choice.recurrence {
            Recurrence::Steps(_) | Recurrence::Wavefront(_) => steps,
            Recurrence::Sequence(_) => 1,
        }
    }

    /// The kernels of a turn, in order.
    fn kernels_of_recurrence(&self) -> impl Iterator<Item = Kernel> + use<> {
        let shrink = self.config.is_projected().then_some(Kernel::Shrink);
        std::iter::once(self.choice.recurrence.kernel()).chain(shrink)
    }

    /// The kernels that the plan dispatches, of each role one, in the order of [`Role::of`].
    pub(crate) fn kernels(&self) -> impl Iterator<Item = Kernel> + use<> {
        std::iter::once(self.choice.input_product.kernel()).chain(self.kernels_of_recurrence())
    }

    fn project_dispatches(&self, layer: usize, chunk: usize) -> impl Iterator<Item = Dispatch> + '_ {
        let slices = 0..project::slices(self.config.layer_input_size(layer));
        slices.map(move |slice| self.project_dispatch(layer, chunk, slice))
    }

    fn project_dispatch(&self, layer: usize, chunk: usize, slice: usize) -> Dispatch {
        let rows = self.steps_in(chunk) * self.task.extents.batch;
        let (config, directions) = (&self.config, self.config.directions());
        Dispatch {
            kernel: self.choice.input_product.kernel(),
            layer,
            chunk_offset: self.params.chunk_offset(layer, chunk, slice),
            step_offset: 0,
            groups: self.choice.input_product.groups(rows, config.hidden_size, directions),
            work: product_work(config, rows, project::slice(config.layer_input_size(layer), slice).len()),
        }
    }

    /// A dispatch of the kernel of the recurrence, or of the one that follows it.
    fn recurrence_dispatch(&self, kernel: Kernel, layer: usize, chunk: usize, turn: usize) -> Dispatch {
        let (config, batch, directions) = (&self.config, self.task.extents.batch, self.config.directions());
        let groups = match (kernel, self.choice.recurrence) {
            (Kernel::Shrink, _) => shrink::groups(config.recurrent_size(), batch, directions),
            (_, Recurrence::Steps(tile) | Recurrence::Wavefront(tile)) => {
                tile.groups(config.hidden_size, batch, directions)
            }
            (_, Recurrence::Sequence(tile)) => tile.groups(batch, directions),
        };
        // A sequence has no blocks of steps.
        let (step_offset, steps) = match self.choice.recurrence {
            Recurrence::Steps(_) | Recurrence::Wavefront(_) => (self.params.step_offset(turn), 1),
            Recurrence::Sequence(_) => (0, self.steps_in(chunk)),
        };
        Dispatch {
            kernel,
            layer,
            chunk_offset: self.params.chunk_offset(layer, chunk, 0),
            step_offset,
            groups,
            // The projection has fewer weights than one gate; it is counted like the step, to be safe.
            work: self.choice.recurrence.step_work(config, batch).saturating_mul(steps as u64),
        }
    }

    /// A step of so many layers, each at the chunk of the wave.
    fn wave_dispatch(&self, wave: usize, layers: usize, step: usize) -> Dispatch {
        let of_layer = self.recurrence_dispatch(self.choice.recurrence.kernel(), 0, 0, step);
        let [x, y, _] = of_layer.groups;
        Dispatch {
            chunk_offset: self.params.wave_offset(wave),
            groups: [x, y, layers as u32],
            work: of_layer.work.saturating_mul(layers as u64),
            ..of_layer
        }
    }

    /// The ends of the submissions, as counts of dispatches from the start: one for a forward of ordinary length.
    pub(crate) fn submission_ends(&self) -> Vec<usize> {
        let (mut ends, mut count, mut work) = (Vec::new(), 0, 0_u64);
        for dispatch in self.dispatches() {
            if work > 0 && work + dispatch.work > self.submission_work {
                ends.push(count);
                work = 0;
            }
            work += dispatch.work;
            count += 1;
        }
        if count > 0 {
            ends.push(count);
        }
        ends
    }

    /// How many kernel calls a forward records: for each layer one a time step (two with a projection) or one a time chunk, and where
    /// layers overlap one for a step of all of them; besides, for each layer and time chunk one input product (more for inputs of many
    /// thousand features).
    pub fn dispatch_count(&self) -> usize {
        let slices = |layer| project::slices(self.config.layer_input_size(layer));
        let products: usize = (0..self.config.num_layers).map(|layer| self.chunks() * slices(layer)).sum();
        let turns: usize = match self.choice.recurrence {
            Recurrence::Wavefront(_) => {
                let waves = wave::waves(self.config.num_layers, self.chunks()).enumerate();
                waves.map(|(wave, layers)| self.steps_of_wave(wave, &layers)).sum()
            }
            Recurrence::Steps(_) => self.config.num_layers * self.time_steps,
            Recurrence::Sequence(_) => self.config.num_layers * self.chunks(),
        };
        products + turns * self.kernels_of_recurrence().count()
    }

    /// How many submissions a forward makes.
    pub fn submission_count(&self) -> usize {
        self.submission_ends().len()
    }
}

impl Recurrence {
    /// How long a step may take, by the measure of [`SUBMISSION_WORK`](super::limits::SUBMISSION_WORK).
    pub(crate) fn step_work(self, config: &RecurrentConfig, batch: usize) -> u64 {
        let work = product_work(config, batch, config.recurrent_size());
        match self {
            Self::Steps(_) | Self::Wavefront(_) => work,
            // A workgroup has an eighth of a small GPU to itself, and the barriers of a step are counted as a dispatch.
            Self::Sequence(_) => work.saturating_mul(8),
        }
    }
}

/// The longer of computing such a product and reading its weights, and the start of a dispatch.
fn product_work(config: &RecurrentConfig, rows: usize, features: usize) -> u64 {
    let weight_bytes = product_flops(config, 1, features) / 2 * F32;
    let work = product_flops(config, rows, features).max(weight_bytes.saturating_mul(WORK_PER_BYTE));
    work.saturating_add(WORK_PER_DISPATCH)
}
