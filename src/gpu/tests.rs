//! Paths that only large work takes, with small work and smaller thresholds.

use std::io::Write;
use std::sync::Arc;

use crate::blocking::Wait;
use crate::call::{Call, Task};
use crate::device::Device;
use crate::error::Error;
use crate::extents::Extents;
use crate::gpu::adapter::{self, GpuOptions};
use crate::gpu::context::Context;
use crate::gpu::model::GpuModel;
use crate::gpu::transfer;
use crate::layer::config::Config;
use crate::layer::kind::Kind;
use crate::layer::{GruConfig, Layer, Lstm, LstmConfig, RnnConfig};
use crate::options::Options;
use crate::precision::Precision;
use crate::strategy::Strategy;
use crate::tensor::Tensor;

pub(super) fn context() -> Option<Context> {
    let required = std::env::var_os("WGPU_RNN_REQUIRE_GPU").is_some_and(|v| v == "1");
    match pollster::block_on(adapter::choose(&GpuOptions::new())) {
        Ok(chosen) => Some(pollster::block_on(Context::open(&chosen)).unwrap()),
        Err(error @ Error::NoAdapter { .. }) if !required => {
            // Straight to stderr: what a passing test prints is hidden.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {error}");
            None
        }
        Err(error) => panic!("WGPU_RNN_REQUIRE_GPU: {error}"),
    }
}

#[test]
fn a_forward_in_several_submissions_gives_the_bits_of_one() {
    let config = LstmConfig::new(3, 9).with_num_layers(2).with_bidirectional(true);
    let lstm = Lstm::random(config.clone(), 1).unwrap();
    let call = Call::new(Extents::batched(&config.0, 12, 5), &Options::new()).unwrap();
    let input: Vec<f32> = (0..12 * 5 * 3).map(|i| (i as f32 * 0.7).sin()).collect();
    let run = |strategy: Strategy, submission_work: u64, wait: Wait| {
        let mut context = context()?;
        context.limits.submission_work = submission_work;
        let context = context.into();
        let model =
            pollster::block_on(GpuModel::place(&context, &config.0, lstm.layers(), Precision::F32, wait)).unwrap();
        model.set_strategy(strategy).unwrap();
        let submissions = model.plan_forward(call.task).unwrap().submission_count();
        let computed = pollster::block_on(model.forward(&call, &input, None, wait)).unwrap();
        Some((submissions, computed))
    };
    // A dispatch is the work of 1,000,000 operations and its own few. A threshold below any makes each a submission, and each
    // step a chunk of its own.
    for (strategy, thresholds) in [
        (Strategy::Step, [(14_500_000, 2), (1, 2 * (12 + 12))]),
        (Strategy::Sequence, [(100_000_000, 2), (1, 2 * (12 + 12))]),
    ] {
        let Some((one, results)) = run(strategy, u64::MAX, Wait::Blocking) else { return };
        assert_eq!(one, 1);
        for (threshold, expected) in thresholds {
            for wait in [Wait::Blocking, Wait::Async] {
                let (several, in_parts) = run(strategy, threshold, wait).unwrap();
                assert_eq!(several, expected, "{strategy} {threshold}");
                assert_eq!(in_parts, results, "{strategy} {threshold} {wait:?}");
            }
        }
    }
}

/// The tiles of real GPUs and of software adapters, on whatever adapter there is.
#[test]
fn every_tile_gives_the_numbers_of_the_reference() {
    for software in [false, true] {
        let Some(mut context) = context() else { return };
        context.limits.software = software;
        let context = Arc::new(context);
        for (inputs, hidden, layers) in [(5, 9, 2), (131, 37, 1), (5, 150, 1)] {
            let lstm = LstmConfig::new(inputs, hidden).with_num_layers(layers).with_bidirectional(layers == 2);
            for batch in [1, 2, 4, 5, 8, 9, 16, 21, 33] {
                check_tile(&context, lstm.clone(), batch);
                check_tile(&context, lstm.clone().with_proj_size(hidden / 2), batch);
                let gru = GruConfig::new(inputs, hidden).with_num_layers(layers);
                check_tile(&context, gru.clone().with_reset_after(false), batch);
                check_tile(&context, gru, batch);
                check_tile(&context, RnnConfig::new(inputs, hidden).with_num_layers(layers), batch);
            }
        }
        // More than a staged tile of h, and more than a slice of x.
        check_tile(&context, LstmConfig::new(5, 600), 2);
        check_tile(&context, LstmConfig::new(5, 600), 5);
        check_tile(&context, GruConfig::new(16_390, 9), 3);
        check_tile(&context, GruConfig::new(16_390, 9), 5);
        // Many rows and units: the wide tile of a GPU, with rows and units to spare.
        check_tile(&context, LstmConfig::new(5, 41), 33 * 32 + 5);
        check_tile(&context, GruConfig::new(5, 41), 43 * 32 - 5);
        check_tile(&context, GruConfig::new(5, 41).with_reset_after(false), 43 * 32 - 5);
    }
}

fn check_tile<K: Kind>(context: &Arc<Context>, config: Config<K>, batch: usize) {
    let layer = Layer::random(config.clone(), 1).unwrap();
    let call = Call::new(Extents::batched(&config.0, 4, batch), &Options::new()).unwrap();
    let input: Vec<f32> = (0..4 * batch * config.input_size()).map(|i| (i as f32 * 0.7).sin()).collect();
    let model = pollster::block_on(GpuModel::place(context, &config.0, layer.layers(), Precision::F32, Wait::Blocking))
        .unwrap();
    let x = Tensor::new([4, batch, config.input_size()], input.clone()).unwrap().cast::<f64>().unwrap();
    let reference = layer.cast::<f64>().unwrap().to(&Device::cpu()).unwrap();
    let (expected, _) = reference.forward(&x, None).unwrap();
    // The terms of the longest sum that makes a gate, as everywhere.
    let terms = 2 * config.hidden_size().max(config.input_size()) + config.hidden_size() + 2;
    let tolerance = terms as f64 * f64::from(f32::EPSILON);
    for strategy in [Strategy::Step, Strategy::Sequence, Strategy::Wavefront] {
        if let Err(error) = model.set_strategy(strategy) {
            assert!(strategy != Strategy::Step, "{config}: {error}");
            continue;
        }
        let got = pollster::block_on(model.forward(&call, &input, None, Wait::Blocking)).unwrap();
        for (at, (&got, &expected)) in got[0].iter().zip(expected.data()).enumerate() {
            let difference = (f64::from(got) - expected).abs();
            assert!(
                difference <= tolerance * (1.0 + expected.abs()),
                "{config}, {strategy}, B = {batch}, element {at}: {got} {expected}"
            );
        }
    }
}

#[test]
fn an_upload_in_several_writes_arrives_whole() {
    let Some(context) = context() else { return };
    // More than a flush, and no multiple of a write.
    let words: Vec<u32> = (0..(80 << 20) / 4 + 3).collect();
    let bytes: &[u8] = bytemuck::cast_slice(&words);
    use wgpu::BufferUsages as Use;
    let make = |usage| transfer::buffer(&context.gpu.device, "test", bytes.len() as u64, usage);
    let (buffer, staging) = (make(Use::COPY_SRC | Use::COPY_DST), make(Use::MAP_READ | Use::COPY_DST));
    for wait in [Wait::Blocking, Wait::Async] {
        pollster::block_on(transfer::upload(&context.gpu, &buffer, 0, bytes, wait)).unwrap();
        let mut encoder = context.gpu.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&buffer, 0, &staging, 0, bytes.len() as u64);
        let submission = context.gpu.queue.submit([encoder.finish()]);
        let sizes = [bytes.len() as u64];
        let got = transfer::read_back::<f32>(&context.gpu, &staging, submission, wait, &sizes);
        assert!(bytemuck::cast_slice::<f32, u8>(&pollster::block_on(got).unwrap()[0]) == bytes);
    }
}

/// A recording over a buffer that cannot be copied to takes steps, which give the same bits, unless a wavefront was asked for.
#[test]
fn a_recording_does_without_a_copy_that_nobody_asked_for() {
    let Some(mut context) = context() else { return };
    context.limits.software = false;
    let context = Arc::new(context);
    let config = LstmConfig::new(4, 100).with_num_layers(4);
    let lstm = Lstm::random(config.clone(), 1).unwrap();
    let place = |precision| GpuModel::place(&context, &config.0, lstm.layers(), precision, Wait::Blocking);
    let model = pollster::block_on(place(Precision::F32)).unwrap();
    use wgpu::BufferUsages as Use;
    let output = |usage| transfer::buffer(&context.gpu.device, "test", 64, usage);
    let task = Task::forward(Extents::batched(&config.0, 50, 20));
    let strategy = |usage| model.plan_recording(task, Some(&output(usage)));
    assert_eq!(strategy(Use::STORAGE | Use::COPY_DST).unwrap().strategy(), Strategy::Wavefront);
    assert_eq!(strategy(Use::STORAGE).unwrap().strategy(), Strategy::Step);
    model.set_strategy(Strategy::Wavefront).unwrap();
    assert!(matches!(strategy(Use::STORAGE), Err(Error::Buffer { name: "output", .. })));

    // What was timed is of a precision and a batch, not of a length.
    let of = |model: &GpuModel, t, b| model.class(&Task::forward(Extents::batched(&config.0, t, b)));
    let halves = pollster::block_on(place(Precision::F16)).unwrap();
    assert_eq!(of(&model, 7, 20), of(&model, 50, 20));
    assert_ne!(of(&model, 7, 20), of(&model, 7, 21));
    assert_ne!(of(&model, 7, 20), of(&halves, 7, 20));
}

/// wgpu runs a program's own callbacks on whichever thread polls, and after a panic of one leaves out those that were due with it:
/// here ours, on the thread that waits for a readback.
#[test]
fn a_readback_outlives_a_panic_of_somebodys_callback() {
    use wgpu::BufferUsages as Use;
    let Some(context) = context() else { return };
    let gpu = &context.gpu;
    let make = |usage| transfer::buffer(&gpu.device, "test", 16, usage);
    let (buffer, staging) = (make(Use::COPY_SRC | Use::COPY_DST), make(Use::MAP_READ | Use::COPY_DST));
    let somebodys = make(Use::MAP_READ | Use::COPY_DST);
    let numbers = [1.0, 2.0, 3.0, 4.0];
    gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&numbers));
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(&buffer, 0, &staging, 0, 16);
    let submission = gpu.queue.submit([encoder.finish()]);
    let (sender, receiver) = std::sync::mpsc::channel();
    somebodys.map_async(wgpu::MapMode::Read, .., move |_| {
        sender.send(std::thread::current().name().map(str::to_owned)).unwrap();
        panic!("on purpose");
    });
    let got = pollster::block_on(transfer::read_back::<f32>(gpu, &staging, submission, Wait::Async, &[16]));
    assert_eq!(got.unwrap(), [numbers]);
    assert_eq!(receiver.recv().unwrap().as_deref(), Some("wgpu-rnn wait"));
    gpu.check_alive("testing").unwrap();
}
