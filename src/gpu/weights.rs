//! Weights as the kernels read them: packed once, when a model is placed on a device.

use crate::config::RecurrentConfig;
use crate::gpu::Wait;
use crate::gpu::context::Context;
use crate::gpu::transfer;
use crate::plan::limits::{Need, check};
use crate::tensor::zeroed;
use crate::weights::LayerWeights;
use crate::{Real, Result, Tensor};

/// The packed weights of one layer, both directions one behind the other.
#[derive(Debug)]
pub(crate) struct LayerBuffers {
    /// `[D, I, H]` of G
    pub(crate) w_ih: wgpu::Buffer,
    /// `[D, H, H]` of G
    pub(crate) w_hh: wgpu::Buffer,
    /// `[D, H]` of G
    pub(crate) b_ih: wgpu::Buffer,
    /// `[D, H]` of G
    pub(crate) b_hh: wgpu::Buffer,
}

const NAMES: [&str; 4] = ["w_ih", "w_hh", "b_ih", "b_hh"];

/// The columns of each of [`NAMES`] in a layer.
fn columns(config: &RecurrentConfig, layer: usize) -> [usize; 4] {
    [config.layer_input_size(layer), config.hidden_size, 1, 1]
}

/// The bytes of each of [`NAMES`] in a layer.
fn sizes(config: &RecurrentConfig, layer: usize) -> [u64; 4] {
    columns(config, layer).map(|columns| {
        let factors = [config.directions(), config.gate_rows(), columns, size_of::<f32>()];
        Need::product("weights", &factors.map(|n| n as u64)).bytes
    })
}

impl LayerBuffers {
    /// Whether the device can hold a layer.
    pub(crate) fn check(context: &Context, config: &RecurrentConfig, layer: usize) -> Result<()> {
        for (name, bytes) in NAMES.iter().zip(sizes(config, layer)) {
            let what = format!("{name} of layer {layer}");
            check(&what, "max_storage_buffer_binding_size", bytes, context.limits.storage_binding)?;
            context.limits.buffer(&what, bytes)?;
        }
        Ok(())
    }

    /// Packs and uploads a layer that was checked; `directions` are its D weights.
    pub(crate) async fn place<F: Real>(
        context: &Context,
        config: &RecurrentConfig,
        layer: usize,
        directions: &[LayerWeights<F>],
        wait: Wait,
    ) -> Result<Self> {
        let (columns, sizes) = (columns(config, layer), sizes(config, layer));
        let buffers = context
            .gpu
            .scoped("creating the weight buffers", || {
                let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
                let of = |i: usize| {
                    transfer::buffer(&context.gpu.device, &format!("{} l{layer}", NAMES[i]), sizes[i], usage)
                };
                Self { w_ih: of(0), w_hh: of(1), b_ih: of(2), b_hh: of(3) }
            })
            .await?;
        let tensors: [(&wgpu::Buffer, Vec<Option<&Tensor<F>>>); 4] = [
            (&buffers.w_ih, directions.iter().map(|w| Some(w.weight_ih())).collect()),
            (&buffers.w_hh, directions.iter().map(|w| Some(w.weight_hh())).collect()),
            (&buffers.b_ih, directions.iter().map(LayerWeights::bias_ih).collect()),
            (&buffers.b_hh, directions.iter().map(LayerWeights::bias_hh).collect()),
        ];
        for ((buffer, directions), columns) in tensors.into_iter().zip(columns) {
            let packed = pack(config, &directions, columns)?;
            transfer::upload(&context.gpu, buffer, bytemuck::cast_slice(&packed), wait).await?;
        }
        Ok(buffers)
    }
}

/// `[D, columns, H, G]` from each direction's `[G·H, columns]`: the gates of one hidden unit side by side, neighbouring units
/// next to each other, so that a row of invocations reads one contiguous stretch of vectors. A missing bias is zeros.
fn pack<F: Real>(config: &RecurrentConfig, directions: &[Option<&Tensor<F>>], columns: usize) -> Result<Vec<f32>> {
    let (gates, hidden) = (config.cell.gates(), config.hidden_size);
    let mut packed = zeroed::<f32>("packed weights", &[directions.len(), columns, hidden, gates])?;
    let per_direction = columns * hidden * gates;
    for (packed, tensor) in packed.chunks_exact_mut(per_direction).zip(directions) {
        let Some(tensor) = tensor else { continue };
        for (row, values) in tensor.data().chunks_exact(columns).enumerate() {
            let (gate, unit) = (row / hidden, row % hidden);
            for (k, value) in values.iter().enumerate() {
                packed[(k * hidden + unit) * gates + gate] = value.to_f64() as f32;
            }
        }
    }
    Ok(packed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LstmConfig;

    #[test]
    fn packing_lays_the_gates_of_a_unit_side_by_side() {
        let config = LstmConfig::new(3, 2).bidirectional(true).0;
        // An element's value is its place: direction, gate, unit, column.
        let of = |d: usize| {
            let place = |i: usize| (d * 1000 + (i / 3 / 2) * 100 + (i / 3 % 2) * 10 + i % 3) as f64;
            Tensor::new([8, 3], (0..24).map(place).collect::<Vec<_>>()).unwrap()
        };
        let (forward, reverse) = (of(0), of(1));
        let packed = pack(&config, &[Some(&forward), Some(&reverse)], 3).unwrap();
        let mut at = 0;
        for d in 0..2 {
            for k in 0..3 {
                for unit in 0..2 {
                    for gate in 0..4 {
                        assert_eq!(packed[at], (d * 1000 + gate * 100 + unit * 10 + k) as f32, "{d} {k} {unit} {gate}");
                        at += 1;
                    }
                }
            }
        }
        assert_eq!(pack::<f32>(&config, &[None, None], 1).unwrap(), vec![0.0; 16]);
    }
}
