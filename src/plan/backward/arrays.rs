//! The table of arrays of a backward.

use super::Backward;
use super::kernel::BackwardKernel;
use crate::call::Results;
use crate::plan::forward::bytes_of;
use crate::plan::program::{Array, Name, Owner};

impl Backward<'_> {
    /// Returns the arrays whose size does not depend on the chunks. Those of the forward come from it.
    pub(super) fn fixed_arrays(self) -> Vec<Array> {
        let Self { config, task, .. } = self;
        let (t, b) = (task.extents.time_steps, task.extents.batch);
        let mut arrays = Vec::new();
        let mut add = |name, bytes| arrays.push(Array { name, bytes, owner: Owner::Scratch });
        let output = bytes_of(&[t, b, config.output_size()]);
        add(Name::InitialState(0), self.state_bytes(0));
        add(Name::OutputGradient, output);
        for n in 0..(config.num_layers - 1).min(2) {
            add(Name::LayerOutputGradient(n), output);
        }
        add(Name::InputGradient, bytes_of(&[t, b, config.input_size]));
        for state in 0..config.cell.states().len() {
            add(Name::StateGradient(state), self.state_bytes(state));
        }
        for (layer, gradient) in self.weight_gradients() {
            let name = Name::WeightGradient { array: gradient.matrix.array, layer };
            add(name, gradient.bytes(config.directions()).saturating_mul(gradient.parts as u64));
        }
        let results = self.results().map(|(_, bytes)| bytes).fold(0, u64::saturating_add);
        if results > 0 {
            add(Name::Readback, results);
        }
        arrays
    }

    /// Returns the arrays of a chunk.
    pub(super) fn chunk_arrays(self, chunk_steps: usize) -> Vec<Array> {
        let rows = [chunk_steps, self.task.extents.batch, self.config.directions()];
        let of = |name, values: usize| {
            let bytes = bytes_of(&rows).saturating_mul(values as u64);
            Array { name, bytes, owner: Owner::Scratch }
        };
        let mut arrays = vec![of(Name::Gates, self.config.hidden_size * self.saved())];
        if self.config.is_projected() {
            arrays.push(of(Name::DhRows, self.config.recurrent_size()));
            arrays.push(of(Name::Projected, self.config.hidden_size));
        }
        arrays
    }

    /// Returns the number of floats of a unit and step that the backward works on, `Saved` of shaders/cell/.
    fn saved(self) -> usize {
        if BackwardKernel::recomputes(self.config.cell) { 4 } else { 1 }
    }

    fn state_bytes(self, state: usize) -> u64 {
        let rows = [self.config.layers_and_directions(), self.task.extents.batch];
        bytes_of(&rows).saturating_mul(self.config.state_size(state) as u64)
    }

    /// Returns the arrays that are read back, one after another: the gradients of the input and of the initial states;
    /// none for a recording.
    pub(super) fn results(self) -> impl Iterator<Item = (Name, u64)> {
        let Self { config, task, .. } = self;
        let input = bytes_of(&[task.extents.time_steps, task.extents.batch, config.input_size]);
        let states = (0..config.cell.states().len()).map(move |s| (Name::StateGradient(s), self.state_bytes(s)));
        let is_read = task.results != Results::RecordedTraining;
        [(Name::InputGradient, input)].into_iter().chain(states).filter(move |_| is_read)
    }

    /// Returns the output of a layer in the forward.
    pub(super) fn output_of(self, layer: usize) -> Name {
        if layer + 1 == self.config.num_layers { Name::Output } else { Name::LayerOutput(layer) }
    }

    /// Returns what a layer has read in the forward.
    pub(super) fn input_of(self, layer: usize) -> Name {
        layer.checked_sub(1).map_or(Name::Input, |below| self.output_of(below))
    }

    /// Returns the gradient of a layer's output. Two arrays take turns, as a layer reads one and writes the other.
    pub(super) fn output_gradient_of(self, layer: usize) -> Name {
        if layer + 1 == self.config.num_layers { Name::OutputGradient } else { Name::LayerOutputGradient(layer % 2) }
    }

    /// Returns the gradient of what a layer has read.
    pub(super) fn input_gradient_of(self, layer: usize) -> Name {
        layer.checked_sub(1).map_or(Name::InputGradient, |below| self.output_gradient_of(below))
    }
}
