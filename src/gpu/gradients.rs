//! The gradients of packed weights, unpacked: the inverse of the packing in weights.rs.

use crate::config::RecurrentConfig;
use crate::error::Result;
use crate::gradients::zero_weights;
use crate::plan::matrix::Matrix;
use crate::real::Real;
use crate::weights::LayerWeights;

/// Returns the gradients of the weights of all layers, index layer·D + direction, from the packed ones of each matrix
/// with its bias, in the order of the layers.
pub(super) fn unpack<F: Real>(config: &RecurrentConfig, packed: &[Vec<F>]) -> Result<Vec<LayerWeights<F>>> {
    let mut gradients = zero_weights(config)?;
    let mut packed = packed.iter();
    for (layer, gradients) in gradients.chunks_exact_mut(config.directions()).enumerate() {
        for matrix in Matrix::without_biases(config, layer) {
            let Some(packed) = packed.next() else { break };
            unpack_matrix(&matrix, packed, gradients);
        }
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
    let of_each = weights.chunks_exact(of_direction).zip(biases.chunks_exact(units * gates));
    for (gradients, (weights, biases)) in gradients.iter_mut().zip(of_each) {
        // The row of the parameter that a gate of a unit has.
        let row = |gate: usize, unit: usize| (matrix.gates.start + gate) * units + unit;
        if let Some(tensor) = gradients.get_mut(matrix.parameter) {
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
        if let Some(tensor) = matrix.bias().and_then(|bias| gradients.get_mut(bias)) {
            for (unit, of_unit) in biases.chunks_exact(gates).enumerate() {
                for (gate, &value) in of_unit.iter().enumerate() {
                    tensor.data_mut()[row(gate, unit)] = value;
                }
            }
        }
    }
}
