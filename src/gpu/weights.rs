//! Weights as the kernels read them: packed once, when a model is placed on a device.

use half::f16;

use crate::config::RecurrentConfig;
use crate::gpu::Wait;
use crate::gpu::context::Context;
use crate::gpu::transfer;
use crate::plan::limits::{DeviceLimits, Need, check};
use crate::plan::{WEIGHT_BLOCK, wave};
use crate::precision::Precision;
use crate::tensor::element_count;
use crate::weights::LayerWeights;
use crate::weights::names::ParameterKind;
use crate::{Error, Real, Result, Tensor};

/// The packed weights of one layer, both directions one behind the other.
#[derive(Debug)]
pub(crate) struct LayerBuffers {
    pub(crate) precision: Precision,
    /// `[D, H / 8, I, 8]` of G
    pub(crate) w_ih: Stretch,
    /// `[D, H / 8, P, 8]` of G
    pub(crate) w_hh: Stretch,
    /// `[D, H]` of G
    pub(crate) b_ih: Stretch,
    /// `[D, H]` of G
    pub(crate) b_hh: Stretch,
    /// `[D, H, P]`, with a projection
    pub(crate) w_hr: Option<Stretch>,
}

/// Where a layer's array lies: in a buffer of its own, or in one that all layers share.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    pub(crate) buffer: wgpu::Buffer,
    offset: u64,
    bytes: u64,
}

impl Stretch {
    /// The layer's own part.
    pub(crate) fn binding(&self) -> wgpu::BufferBinding<'_> {
        let (buffer, offset, size) = (&self.buffer, self.offset, std::num::NonZeroU64::new(self.bytes));
        wgpu::BufferBinding { buffer, offset, size }
    }
}

/// The recurrent weights of all layers, in one buffer each, for dispatches over several layers.
#[derive(Debug)]
pub(crate) struct Stacked {
    w_hh: wgpu::Buffer,
    b_hh: wgpu::Buffer,
}

impl Stacked {
    /// Buffers for the layers of a model, if its layers can overlap and the device can hold them.
    pub(crate) async fn new(context: &Context, config: &RecurrentConfig, precision: Precision) -> Result<Option<Self>> {
        let limits = DeviceLimits { stacked_weights: true, ..context.limits };
        if wave::check_model(config, &limits).is_err() {
            return Ok(None);
        }
        let bytes = |parameter| {
            let factors = [config.num_layers as u64, bytes_of_layer(config, parameter, precision)];
            Need::product("the recurrent weights of all layers", &factors)
        };
        let [w_hh, b_hh] = [ParameterKind::WeightHh, ParameterKind::BiasHh].map(bytes);
        if [&w_hh, &b_hh].iter().any(|need| limits.storage_binding(need).is_err()) {
            return Ok(None);
        }
        let device = &context.gpu.device;
        let make = || Self {
            w_hh: transfer::buffer(device, "w_hh", w_hh.bytes, USAGE),
            b_hh: transfer::buffer(device, "b_hh", b_hh.bytes, USAGE),
        };
        context.gpu.scoped("creating the weight buffers", make).await.map(Some)
    }

    /// The buffer of a parameter, if it is shared.
    fn buffer(&self, parameter: ParameterKind) -> Option<&wgpu::Buffer> {
        match parameter {
            ParameterKind::WeightHh => Some(&self.w_hh),
            ParameterKind::BiasHh => Some(&self.b_hh),
            _ => None,
        }
    }
}

const USAGE: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_DST);

/// The bytes from a layer to the next in a buffer that all layers share.
fn bytes_of_layer(config: &RecurrentConfig, parameter: ParameterKind, precision: Precision) -> u64 {
    let (elements, precision) = match parameter {
        ParameterKind::WeightHh => (wave::weights_of_layer(config), precision),
        _ => (wave::biases_of_layer(config), Precision::F32),
    };
    (elements * words(config.cell.gates(), precision) * size_of::<u32>()) as u64
}

/// 32-bit words that the weights of all gates of one unit take.
pub(crate) const fn words(gates: usize, precision: Precision) -> usize {
    match precision {
        Precision::F32 => gates,
        Precision::F16 => gates.div_ceil(2),
    }
}

/// A packed matrix: `[D, units / block, columns, block]` of `gates`.
struct Matrix {
    name: &'static str,
    parameter: ParameterKind,
    columns: usize,
    units: usize,
    gates: usize,
    block: usize,
    precision: Precision,
}

impl Matrix {
    /// Those of a layer: w_ih, w_hh, b_ih, b_hh, and with a projection w_hr.
    fn of_layer(config: &RecurrentConfig, layer: usize, precision: Precision) -> Vec<Self> {
        let (units, gates) = (config.hidden_size, config.cell.gates());
        let weights =
            |name, parameter, columns| Self { name, parameter, columns, units, gates, block: WEIGHT_BLOCK, precision };
        let biases = |name, parameter| {
            let (columns, block, precision) = (1, 1, Precision::F32);
            Self { name, parameter, columns, units, gates, block, precision }
        };
        let mut all = vec![
            weights("w_ih", ParameterKind::WeightIh, config.layer_input_size(layer)),
            weights("w_hh", ParameterKind::WeightHh, config.recurrent_size()),
            biases("b_ih", ParameterKind::BiasIh),
            biases("b_hh", ParameterKind::BiasHh),
        ];
        if config.is_projected() {
            let (parameter, units) = (ParameterKind::WeightHr, config.recurrent_size());
            all.push(Self {
                name: "w_hr",
                parameter,
                columns: config.hidden_size,
                units,
                gates: 1,
                block: units,
                precision: Precision::F32,
            });
        }
        all
    }

    /// Units of whole blocks.
    fn padded_units(&self) -> usize {
        self.units.next_multiple_of(self.block)
    }

    fn bytes(&self, directions: usize) -> u64 {
        let factors =
            [directions, self.padded_units(), self.columns, words(self.gates, self.precision), size_of::<u32>()];
        Need::product("weights", &factors.map(|n| n as u64)).bytes
    }
}

impl LayerBuffers {
    /// The precision of a model, whose layers are all of one.
    pub(crate) fn precision_of(layers: &[Self]) -> Precision {
        layers.first().map_or(Precision::F32, |layer| layer.precision)
    }

    /// Whether the device can hold a layer.
    pub(crate) fn check(context: &Context, config: &RecurrentConfig, layer: usize, precision: Precision) -> Result<()> {
        for matrix in Matrix::of_layer(config, layer, precision) {
            let (what, bytes) = (format!("{} of layer {layer}", matrix.name), matrix.bytes(config.directions()));
            check(&what, "max_storage_buffer_binding_size", bytes, context.limits.storage_binding)?;
            context.limits.buffer(&what, bytes)?;
        }
        Ok(())
    }

    /// Packs and uploads a layer that was checked; `directions` are its D weights.
    pub(crate) async fn place<F: Real>(
        context: &Context,
        config: &RecurrentConfig,
        stacked: Option<&Stacked>,
        layer: usize,
        directions: &[LayerWeights<F>],
        precision: Precision,
        wait: Wait,
    ) -> Result<Self> {
        let matrices = Matrix::of_layer(config, layer, precision);
        let make = |matrix: &Matrix| {
            let bytes = matrix.bytes(directions.len());
            match stacked.and_then(|stacked| stacked.buffer(matrix.parameter)) {
                Some(buffer) => {
                    let offset = layer as u64 * bytes_of_layer(config, matrix.parameter, precision);
                    Stretch { buffer: buffer.clone(), offset, bytes }
                }
                None => {
                    let label = format!("{} l{layer}", matrix.name);
                    Stretch { buffer: transfer::buffer(&context.gpu.device, &label, bytes, USAGE), offset: 0, bytes }
                }
            }
        };
        let made = context.gpu.scoped("creating the weight buffers", || matrices.iter().map(make).collect::<Vec<_>>());
        let mut buffers = made.await?.into_iter();
        for (matrix, stretch) in matrices.iter().zip(buffers.clone()) {
            let tensors: Vec<_> = directions.iter().map(|weights| weights.get(matrix.parameter)).collect();
            let packed = pack(matrix, &tensors)?;
            let bytes = bytemuck::cast_slice(&packed);
            transfer::upload(&context.gpu, &stretch.buffer, stretch.offset, bytes, wait).await?;
        }
        // As many as `Matrix::of_layer` gives, in its order.
        match (buffers.next(), buffers.next(), buffers.next(), buffers.next()) {
            (Some(w_ih), Some(w_hh), Some(b_ih), Some(b_hh)) => {
                Ok(Self { precision, w_ih, w_hh, b_ih, b_hh, w_hr: buffers.next() })
            }
            _ => Err(Error::Gpu { during: "creating the weight buffers", message: "some are missing".to_owned() }),
        }
    }
}

/// `[D, units / block, columns, block, gates]` from each direction's `[gates·units, columns]`: the gates of one hidden unit side by
/// side, neighbouring units next to each other, so that a row of invocations reads one contiguous stretch of vectors, and reads on
/// in memory from column to column. Units that fill up the last block have zeros, and so has a missing bias. As f16, two gates share a word, the first in its low half.
fn pack<F: Real>(matrix: &Matrix, directions: &[Option<&Tensor<F>>]) -> Result<Vec<u32>> {
    let &Matrix { columns, units, gates, block, precision, .. } = matrix;
    let padded_units = matrix.padded_units();
    let words = words(gates, precision);
    let too_large = || Error::TooLarge {
        what: "packed weights".to_owned(),
        shape: vec![directions.len(), padded_units, columns, words],
        bytes_each: size_of::<u32>(),
    };
    let size = element_count::<u32>("packed weights", &[directions.len(), padded_units, columns, words])?;
    let mut packed: Vec<u32> = Vec::new();
    packed.try_reserve_exact(size).map_err(|_| too_large())?;
    packed.resize(size, 0);
    for (packed, tensor) in packed.chunks_exact_mut(padded_units * columns * words).zip(directions) {
        let Some(tensor) = tensor else { continue };
        for (row, values) in tensor.data().chunks_exact(columns).enumerate() {
            let (gate, unit) = (row / units, row % units);
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

    #[test]
    fn packing_lays_the_gates_of_a_unit_side_by_side() {
        let matrix = |columns, block, precision| Matrix {
            name: "w",
            parameter: ParameterKind::WeightIh,
            columns,
            units: 3,
            gates: 4,
            block,
            precision,
        };
        // An element's value is its place: direction, gate, unit, column.
        let value = |d: usize, gate: usize, unit: usize, k: usize| d * 1000 + gate * 100 + unit * 10 + k + 1;
        let of = |d: usize| {
            let place = |i: usize| value(d, i / 2 / 3, i / 2 % 3, i % 2) as f64;
            Tensor::new([12, 2], (0..24).map(place).collect::<Vec<_>>()).unwrap()
        };
        let (forward, reverse) = (of(0), of(1));
        let packed = pack(&matrix(2, 2, Precision::F32), &[Some(&forward), Some(&reverse)]).unwrap();
        let mut expected = Vec::new();
        for (d, block, k) in (0..2).flat_map(|d| [(d, 0, 0), (d, 0, 1), (d, 1, 0), (d, 1, 1)]) {
            // The fourth unit fills up the second block.
            for (unit, gate) in (0..2).flat_map(|unit| (0..4).map(move |gate| (2 * block + unit, gate))) {
                expected.push(if unit < 3 { value(d, gate, unit, k) as f32 } else { 0.0 });
            }
        }
        assert_eq!(packed.iter().map(|&bits| f32::from_bits(bits)).collect::<Vec<_>>(), expected);
        // The same numbers as halves, which all of them are exactly.
        let halves = pack(&matrix(2, 2, Precision::F16), &[Some(&forward), Some(&reverse)]).unwrap();
        let unpacked = halves.iter().flat_map(|word| [*word as u16, (word >> 16) as u16]);
        assert!(unpacked.map(|bits| f16::from_bits(bits).to_f32().to_bits()).eq(packed.iter().copied()));
        assert_eq!(pack::<f32>(&matrix(1, 1, Precision::F32), &[None, None]).unwrap(), vec![0; 24]);
    }
}
