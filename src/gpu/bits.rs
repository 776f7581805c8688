//! Prints a hash of the results of every kernel over a battery of shapes, with the tiles of real GPUs and with those of
//! software adapters. tests/bits.sh compares two commits by it: a change that is not meant to change a number changes no hash.

use std::sync::Arc;

use super::tests::context;
use crate::blocking::Wait;
use crate::call::Call;
use crate::cell_kind::Nonlinearity;
use crate::extents::Extents;
use crate::gpu::model::GpuModel;
use crate::layer::config::Config;
use crate::layer::kind::Kind;
use crate::layer::{GruConfig, Layer, LstmConfig, RnnConfig};
use crate::options::Options;
use crate::precision::Precision;
use crate::strategy::Strategy;

/// FNV-1a, 64 bits.
fn hash(values: impl Iterator<Item = f32>) -> u64 {
    let bytes = values.flat_map(|value| value.to_bits().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn print<K: Kind>(software: bool, config: &Config<K>, t: usize, b: usize, precision: Precision) {
    let Some(mut context) = context() else { return };
    context.limits.software = software;
    let context = Arc::new(context);
    let layer = Layer::random(config.clone(), 3).unwrap();
    let model = GpuModel::place(&context, &config.0, layer.layers(), precision, Wait::Blocking);
    let model = pollster::block_on(model).unwrap();
    let extents = Extents::batched(&config.0, t, b);
    let lengths: Vec<usize> = (0..b).map(|row| t - row % t.min(3)).collect();
    let call = Call::new(extents, &Options { lengths: Some(&lengths), ..Options::new() }).unwrap();
    let wave = |scale: f32, count: usize| (0..count).map(|i| (i as f32 * scale).sin()).collect::<Vec<f32>>();
    let input = wave(0.7, extents.rows() * config.input_size());
    let rows = config.0.layers_and_directions() * b;
    let states: Vec<_> = (0..K::STATES).map(|s| wave(0.3, rows * config.0.state_size(s))).collect();
    let states: Vec<&[f32]> = states.iter().map(Vec::as_slice).collect();
    for strategy in [Strategy::Step, Strategy::Sequence, Strategy::Wavefront] {
        if model.set_strategy(strategy).is_err() {
            continue;
        }
        let got = pollster::block_on(model.forward(&call, &input, Some(&states), Wait::Blocking)).unwrap();
        let tiles = if software { "software" } else { "hardware" };
        let plan = model.plan_forward(call.task).unwrap();
        let hash = hash(got.into_iter().flatten());
        let recurrence = plan.choice.recurrence;
        println!("{tiles} | {config} | T={t} B={b} {precision:?} {strategy} | {recurrence} | {hash:016x}");
    }
}

/// WGPU_RNN_REQUIRE_GPU=1 cargo test --lib gpu::bits -- --ignored --nocapture
#[test]
#[ignore = "prints hashes for tests/bits.sh; it checks nothing by itself"]
fn print_hashes() {
    for software in [false, true] {
        for (i, h) in [(5, 1), (3, 17), (19, 33), (40, 64), (7, 100), (33, 130)] {
            for b in [1, 3, 6, 12, 20, 70] {
                for precision in [Precision::F32, Precision::F16] {
                    let lstm = LstmConfig::new(i, h);
                    print(software, &lstm, 5, b, precision);
                    print(software, &GruConfig::new(i, h), 5, b, precision);
                    print(software, &GruConfig::new(i, h).with_reset_after(false), 5, b, precision);
                    print(software, &RnnConfig::new(i, h), 5, b, precision);
                }
            }
        }
        let stack = LstmConfig::new(6, 20).with_num_layers(3);
        let relu = RnnConfig::new(6, 20).with_nonlinearity(Nonlinearity::Relu);
        for b in [1, 5, 40] {
            print(software, &stack, 7, b, Precision::F32);
            print(software, &stack.clone().with_batch_first(true).with_bidirectional(true), 7, b, Precision::F32);
            print(software, &stack.clone().with_bias(false).with_proj_size(9), 7, b, Precision::F32);
            print(software, &relu.clone().with_num_layers(2), 7, b, Precision::F32);
            let gru = GruConfig::new(6, 20).with_num_layers(2).with_bidirectional(true);
            print(software, &gru, 7, b, Precision::F16);
            print(software, &gru.with_reset_after(false), 7, b, Precision::F16);
        }
        // A tile of many rows and units takes a hidden size that keeps a large GPU busy.
        for b in [17, 64] {
            print(software, &LstmConfig::new(4, 1024), 1, b, Precision::F32);
            print(software, &GruConfig::new(4, 1024), 1, b, Precision::F32);
            print(software, &GruConfig::new(4, 1024).with_reset_after(false), 1, b, Precision::F32);
        }
    }
}
