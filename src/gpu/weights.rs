//! The weights in the layout that the kernels read: packed once, when a model is placed on a device.

use std::collections::HashMap;

use half::f16;

use crate::blocking::Wait;
use crate::config::RecurrentConfig;
use crate::error::Result;
use crate::gpu::arrays::BufferRange;
use crate::gpu::context::Context;
use crate::gpu::guarded::GuardedDevice;
use crate::gpu::transfer;
use crate::memory::zeroed;
use crate::plan::kernel::WeightArray;
use crate::plan::limits::{DeviceLimits, check, saturating_product};
use crate::plan::matrix::{Matrix, words};
use crate::plan::program::Name;
use crate::plan::wavefront;
use crate::precision::Precision;
use crate::real::Real;
use crate::tensor::Tensor;
use crate::weights::LayerWeights;

/// The packed weights of a model, keyed by the names that programs use.
#[derive(Debug)]
pub(crate) struct PackedWeights {
    pub(crate) precision: Precision,
    arrays: HashMap<Name, BufferRange>,
}

const USAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_DST).union(wgpu::BufferUsages::COPY_SRC);

impl PackedWeights {
    pub(crate) fn find(&self, name: Name) -> Option<&BufferRange> {
        self.arrays.get(&name)
    }

    /// Returns true if the recurrent weights of all layers are in one buffer each, for dispatches over several layers.
    pub(crate) fn are_stacked(&self) -> bool {
        self.arrays.keys().any(|name| matches!(name, Name::AllWeights(_)))
    }

    /// Packs and uploads the weights of all layers, each of which takes D entries of `layers`.
    pub(crate) async fn place<F: Real>(
        context: &Context,
        config: &RecurrentConfig,
        layers: &[LayerWeights<F>],
        precision: Precision,
        wait: Wait,
    ) -> Result<Self> {
        let (gpu, directions) = (&context.gpu, config.directions());
        for layer in 0..config.num_layers {
            check_layer(context, config, layer, precision)?;
        }
        let mut arrays = Self::stacked(context, config, precision).await?;
        for (layer, weights) in layers.chunks_exact(directions).enumerate() {
            for matrix in Matrix::of_layer(config, layer, precision) {
                let (array, bytes) = (matrix.array, matrix.bytes(directions));
                let name = Name::Weights { array, layer };
                let range = match arrays.get(&Name::AllWeights(array)) {
                    Some(all) => {
                        let offset = layer as u64 * bytes_of_layer(config, array, precision);
                        BufferRange { offset, bytes, ..all.clone() }
                    }
                    None => {
                        let make = || transfer::buffer(&gpu.device, &name.to_string(), bytes, USAGE);
                        BufferRange::whole(gpu.scoped("creating the weight buffers", make).await?)
                    }
                };
                let tensors: Vec<_> = weights.iter().map(|weights| weights.get(matrix.parameter)).collect();
                let mut packed = pack(&matrix, &tensors)?;
                if matrix.peepholes {
                    let tensors: Vec<_> = weights.iter().map(LayerWeights::peephole).collect();
                    packed.extend(pack(&matrix, &tensors)?);
                }
                transfer::upload(gpu, &range.buffer, range.offset, bytemuck::cast_slice(&packed), wait).await?;
                arrays.insert(name, range);
            }
        }
        Ok(Self { precision, arrays })
    }

    /// Returns a copy of the weights in buffers of their own.
    pub(crate) async fn copied(&self, gpu: &GuardedDevice) -> Result<Self> {
        let during = "copying the weights";
        let copy = || {
            let label = Some("wgpu-rnn weights");
            let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
            // Several arrays may share a buffer.
            let mut copies: Vec<(&wgpu::Buffer, wgpu::Buffer)> = Vec::new();
            for (name, BufferRange { buffer, .. }) in &self.arrays {
                if copies.iter().all(|(original, _)| *original != buffer) {
                    let copy = transfer::buffer(&gpu.device, &name.to_string(), buffer.size(), USAGE);
                    encoder.copy_buffer_to_buffer(buffer, 0, &copy, 0, buffer.size());
                    copies.push((buffer, copy));
                }
            }
            let of = |(&name, range): (&Name, &BufferRange)| {
                let copy = copies.iter().find(|(original, _)| **original == range.buffer);
                let buffer = copy.map_or(&range.buffer, |(_, copy)| copy).clone();
                (name, BufferRange { buffer, ..*range })
            };
            let arrays = self.arrays.iter().map(of).collect();
            gpu.queue.submit([encoder.finish()]);
            arrays
        };
        Ok(Self { precision: self.precision, arrays: gpu.scoped(during, copy).await? })
    }

    /// Creates buffers for the recurrent weights of all layers, if the model's layers can overlap and the device can
    /// hold the buffers.
    async fn stacked(
        context: &Context,
        config: &RecurrentConfig,
        precision: Precision,
    ) -> Result<HashMap<Name, BufferRange>> {
        let limits = DeviceLimits { stacked_weights: true, ..context.limits };
        if wavefront::check_model(config, &limits).is_err() {
            return Ok(HashMap::new());
        }
        let of_step = [WeightArray::Hh(0), WeightArray::BiasHh(0)].map(|array| {
            let bytes = saturating_product(&[config.num_layers as u64, bytes_of_layer(config, array, precision)]);
            (Name::AllWeights(array), bytes)
        });
        if of_step.iter().any(|&(_, bytes)| bytes > limits.storage_binding.min(limits.buffer)) {
            return Ok(HashMap::new());
        }
        let device = &context.gpu.device;
        let make = || {
            let of = |(name, bytes): (Name, u64)| {
                (name, BufferRange::whole(transfer::buffer(device, &name.to_string(), bytes, USAGE)))
            };
            of_step.into_iter().map(of).collect()
        };
        context.gpu.scoped("creating the weight buffers", make).await
    }
}

/// Returns the bytes from one layer to the next in a buffer that all layers share.
fn bytes_of_layer(config: &RecurrentConfig, array: WeightArray, precision: Precision) -> u64 {
    let (elements, precision) = match array {
        WeightArray::Hh(_) => (wavefront::weights_of_layer(config), precision),
        _ => (wavefront::biases_of_layer(config), Precision::F32),
    };
    (elements * words(config.cell.gates(), precision) * size_of::<u32>()) as u64
}

/// Checks that the device can hold a layer.
fn check_layer(context: &Context, config: &RecurrentConfig, layer: usize, precision: Precision) -> Result<()> {
    for matrix in Matrix::of_layer(config, layer, precision) {
        let (what, bytes) =
            (Name::Weights { array: matrix.array, layer }.to_string(), matrix.bytes(config.directions()));
        check(&what, "max_storage_buffer_binding_size", bytes, context.limits.storage_binding)?;
        context.limits.buffer(&what, bytes)?;
    }
    Ok(())
}

/// Packs a matrix into `[D, units / block, columns, block, gates]` from each direction's `[gates·units, columns]`: the
/// gates of one hidden unit are adjacent, and so are neighboring units, so that a row of invocations reads contiguous
/// vectors and advances through memory from column to column. Units that fill up the last block are zeros, and so is a
/// missing bias. As f16, two gates share a word, the first in its low half.
pub(super) fn pack<F: Real>(matrix: &Matrix, directions: &[Option<&Tensor<F>>]) -> Result<Vec<u32>> {
    let &Matrix { columns, units, block, precision, .. } = matrix;
    let padded_units = matrix.padded_units();
    let words = words(matrix.gates.len(), precision);
    let mut packed: Vec<u32> = zeroed("packed weights", &[directions.len(), padded_units, columns, words])?;
    for (packed, tensor) in packed.chunks_exact_mut(padded_units * columns * words).zip(directions) {
        let Some(tensor) = tensor else { continue };
        for (row, values) in tensor.data().chunks_exact(columns).enumerate() {
            let (gate, unit) = (row / units, row % units);
            if !matrix.gates.contains(&gate) {
                continue;
            }
            let gate = gate - matrix.gates.start;
            for (k, value) in values.iter().enumerate() {
                let at = ((unit / block * columns + k) * block + unit % block) * words;
                match precision {
                    Precision::F32 => packed[at + gate] = (value.to_f64() as f32).to_bits(),
                    Precision::F16 => {
                        let half = u32::from(f16::from_f64(value.to_f64()).to_bits());
                        packed[at + gate / 2] |= half << (16 * (gate % 2));
                    }
                }
            }
        }
    }
    Ok(packed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::names::ParameterKind;

    #[test]
    fn packing_lays_the_gates_of_a_unit_side_by_side() {
        let matrix = |columns, block, precision| Matrix {
            array: WeightArray::Ih,
            parameter: ParameterKind::WeightIh,
            columns,
            units: 3,
            gates: 0..4,
            block,
            precision,
            peepholes: false,
        };
        // An element's value encodes its position: direction, gate, unit, column.
        let value = |d: usize, gate: usize, unit: usize, k: usize| d * 1000 + gate * 100 + unit * 10 + k + 1;
        let of = |d: usize| {
            let place = |i: usize| value(d, i / 2 / 3, i / 2 % 3, i % 2) as f64;
            Tensor::new([12, 2], (0..24).map(place).collect::<Vec<_>>()).unwrap()
        };
        let (forward, reverse) = (of(0), of(1));
        let packed = pack(&matrix(2, 2, Precision::F32), &[Some(&forward), Some(&reverse)]).unwrap();
        let mut expected = Vec::new();
        for (d, block, k) in (0..2).flat_map(|d| [(d, 0, 0), (d, 0, 1), (d, 1, 0), (d, 1, 1)]) {
            // The fourth unit is padding of the second block.
            for (unit, gate) in (0..2).flat_map(|unit| (0..4).map(move |gate| (2 * block + unit, gate))) {
                expected.push(if unit < 3 { value(d, gate, unit, k) as f32 } else { 0.0 });
            }
        }
        assert_eq!(packed.iter().map(|&bits| f32::from_bits(bits)).collect::<Vec<_>>(), expected);
        // The same numbers as halves, which represent all of them exactly.
        let halves = pack(&matrix(2, 2, Precision::F16), &[Some(&forward), Some(&reverse)]).unwrap();
        let unpacked = halves.iter().flat_map(|word| [*word as u16, (word >> 16) as u16]);
        assert!(unpacked.map(|bits| f16::from_bits(bits).to_f32().to_bits()).eq(packed.iter().copied()));
        assert_eq!(pack::<f32>(&matrix(1, 1, Precision::F32), &[None, None]).unwrap(), vec![0; 24]);
    }
}
