//! The gradients of packed weights: where a backward leaves them, and on the way to the host and back.

use std::sync::Arc;

use crate::blocking::Wait;
use crate::config::RecurrentConfig;
use crate::error::Result;
use crate::gpu::arrays::{Arrays, BufferRange};
use crate::gpu::context::Context;
use crate::gpu::guarded::GuardedDevice;
use crate::gpu::optim;
use crate::gpu::transfer;
use crate::gpu::weights::pack;
use crate::gradients::zero_weights;
use crate::plan::matrix::Matrix;
use crate::plan::program::{Array, Name, Owner, Program};
use crate::precision::Precision;
use crate::real::Real;
use crate::weights::LayerWeights;

/// The gradients of the weights of all layers, or other values in their layout, on a device.
///
/// A pass that follows takes the arrays over, unless somebody still holds them.
#[derive(Clone, Debug)]
pub(crate) struct DeviceGradients {
    pub(crate) context: Arc<Context>,
    pub(crate) config: RecurrentConfig,
    /// [`Name::WeightGradient`] of every matrix.
    arrays: Arc<Arrays>,
}

impl DeviceGradients {
    /// Wraps the arrays that a backward has written.
    pub(super) fn new(context: &Arc<Context>, config: &RecurrentConfig, arrays: &Arc<Arrays>) -> Self {
        Self { context: Arc::clone(context), config: config.clone(), arrays: Arc::clone(arrays) }
    }

    /// Returns true if the arrays are on this device.
    pub(crate) fn is_on(&self, context: &Context) -> bool {
        self.context.gpu.device == context.gpu.device
    }

    /// Creates arrays of zeros.
    pub(crate) async fn zeros(context: &Arc<Context>, config: &RecurrentConfig) -> Result<Self> {
        let of = |(layer, matrix): (usize, Matrix)| Array {
            name: Name::WeightGradient { array: matrix.array, layer },
            bytes: matrix.bytes(config.directions()) + matrix.bias_bytes(config.directions()),
            owner: Owner::Scratch,
        };
        let table: Vec<Array> = matrices(config).map(of).collect();
        let mut arrays = Arrays::default();
        arrays.add_missing(&context.gpu, &table).await?;
        Ok(Self::new(context, config, &Arc::new(arrays)))
    }

    /// Uploads values of the weights' shapes.
    pub(crate) async fn upload<F: Real>(
        context: &Arc<Context>,
        config: &RecurrentConfig,
        weights: &[LayerWeights<F>],
        wait: Wait,
    ) -> Result<Self> {
        let gradients = Self::zeros(context, config).await?;
        for (layer, of_layer) in weights.chunks_exact(config.directions()).enumerate() {
            let all = Matrix::of_layer(config, layer, Precision::F32);
            for matrix in Matrix::without_biases(config, layer) {
                let range = gradients.range(layer, &matrix)?;
                let bias = all.iter().find(|other| Some(other.array) == matrix.bias_array());
                let mut at = 0;
                for part in std::iter::once(&matrix).chain(bias) {
                    let tensors: Vec<_> = of_layer.iter().map(|weights| weights.get(part.parameter)).collect();
                    let packed = pack(part, &tensors)?;
                    transfer::upload(&context.gpu, &range.buffer, at, bytemuck::cast_slice(&packed), wait).await?;
                    at += part.bytes(config.directions());
                }
            }
        }
        Ok(gradients)
    }

    /// Returns the gradients on the host, index layer·D + direction.
    pub(crate) async fn read<F: Real>(&self, wait: Wait) -> Result<Vec<LayerWeights<F>>> {
        let ranges = self.ranges()?.collect::<Vec<_>>();
        let sizes: Vec<u64> = ranges.iter().map(|range| range.bytes).collect();
        let packed = transfer::read_ranges(&self.context, "reading gradients", &ranges, &sizes, wait).await?;
        unpack(&self.config, &packed)
    }

    /// Adds other gradients of the same configuration and device.
    pub(crate) async fn add(&mut self, other: &Self) -> Result<()> {
        let sum = match Arc::strong_count(&self.arrays) {
            1 => self.clone(),
            // Somebody else holds these arrays.
            _ => {
                let zeros = Self::zeros(&self.context, &self.config).await?;
                optim::add(&self.context, zeros.ranges()?.zip(self.ranges()?)).await?;
                zeros
            }
        };
        optim::add(&self.context, sum.ranges()?.zip(other.ranges()?)).await?;
        *self = sum;
        Ok(())
    }

    /// Returns the array of a matrix with its bias.
    pub(crate) fn range(&self, layer: usize, matrix: &Matrix) -> Result<BufferRange> {
        let directions = self.config.directions();
        let bytes = matrix.bytes(directions) + matrix.bias_bytes(directions);
        Ok(self.arrays.get(Name::WeightGradient { array: matrix.array, layer })?.first(bytes))
    }

    /// Returns the arrays of all matrices, in the order of the layers.
    fn ranges(&self) -> Result<impl Iterator<Item = BufferRange> + use<>> {
        let ranges = matrices(&self.config).map(|(layer, matrix)| self.range(layer, &matrix));
        Ok(ranges.collect::<Result<Vec<_>>>()?.into_iter())
    }
}

/// Replaces the arrays that hold the gradients of weights, among those of a backward, if somebody still holds those of
/// an earlier pass. Returns true if so.
pub(super) async fn replace_held(
    gradients: &mut Arc<Arrays>,
    arrays: &mut Arrays,
    gpu: &GuardedDevice,
    program: &Program,
) -> Result<bool> {
    if Arc::strong_count(gradients) == 1 {
        return Ok(false);
    }
    let mut table = program.scratch();
    table.retain(|array| matches!(array.name, Name::WeightGradient { .. }));
    let mut others = Arrays::default();
    others.add_missing(gpu, &table).await?;
    arrays.replace(&others);
    *gradients = Arc::new(others);
    Ok(true)
}

/// Returns the names of the arrays that hold gradients of weights.
pub(super) fn names(config: &RecurrentConfig) -> impl Iterator<Item = Name> {
    matrices(config).map(|(layer, matrix)| Name::WeightGradient { array: matrix.array, layer })
}

/// Returns every matrix with its layer.
pub(crate) fn matrices(config: &RecurrentConfig) -> impl Iterator<Item = (usize, Matrix)> {
    let layers = 0..config.num_layers;
    layers.flat_map(|layer| Matrix::without_biases(config, layer).map(move |matrix| (layer, matrix)))
}

/// Returns the values of the weights of all layers, index layer·D + direction, from the packed ones of each matrix with
/// its bias, in the order of the layers: the inverse of the packing in weights.rs.
pub(super) fn unpack<F: Real>(config: &RecurrentConfig, packed: &[Vec<F>]) -> Result<Vec<LayerWeights<F>>> {
    let mut gradients = zero_weights(config)?;
    for ((layer, matrix), packed) in matrices(config).zip(packed) {
        let directions = config.directions();
        unpack_matrix(&matrix, packed, &mut gradients[layer * directions..(layer + 1) * directions]);
    }
    Ok(gradients)
}

/// The number of columns that are unpacked at a time: those of a cache line.
const COLUMNS: usize = 16;

/// Unpacks `[D, units / block, columns, block, gates]` and, for the bias, `[D, units, gates]`.
fn unpack_matrix<F: Real>(matrix: &Matrix, packed: &[F], gradients: &mut [LayerWeights<F>]) {
    let &Matrix { columns, units, block, .. } = matrix;
    let gates = matrix.gates.len();
    let of_direction = matrix.padded_units() * columns * gates;
    let (weights, biases) = packed.split_at(of_direction * gradients.len());
    // The row of the parameter that a gate of a unit has.
    let row = |gate: usize, unit: usize| (matrix.gates.start + gate) * units + unit;
    for (gradients, weights) in gradients.iter_mut().zip(weights.chunks_exact(of_direction)) {
        let Some(tensor) = gradients.get_mut(matrix.parameter) else { continue };
        let target = tensor.data_mut();
        for (first, of_block) in weights.chunks_exact(columns * block * gates).enumerate() {
            let there = block.min(units - first * block);
            // A few columns at a time, so that what is read and what is written stays in a cache.
            for (tile, of_tile) in of_block.chunks(COLUMNS * block * gates).enumerate() {
                for (unit, gate) in (0..there).flat_map(|unit| (0..gates).map(move |gate| (unit, gate))) {
                    let at = row(gate, first * block + unit) * columns + tile * COLUMNS;
                    let of_row = of_tile[unit * gates + gate..].iter().step_by(block * gates);
                    target[at..].iter_mut().zip(of_row).for_each(|(target, &value)| *target = value);
                }
            }
        }
    }
    for (gradients, biases) in gradients.iter_mut().zip(biases.chunks_exact(units * gates)) {
        let Some(tensor) = matrix.bias().and_then(|bias| gradients.get_mut(bias)) else { continue };
        for (unit, of_unit) in biases.chunks_exact(gates).enumerate() {
            for (gate, &value) in of_unit.iter().enumerate() {
                tensor.data_mut()[row(gate, unit)] = value;
            }
        }
    }
}
