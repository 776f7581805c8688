//! Paths that only large work takes, with small work and smaller thresholds.

use std::io::Write;

use crate::call::Call;
use crate::gpu::Wait;
use crate::gpu::adapter::{self, GpuOptions};
use crate::gpu::context::Context;
use crate::gpu::model::GpuModel;
use crate::gpu::transfer;
use crate::options::Options;
use crate::sequence::Sequence;
use crate::{Error, Lstm, LstmConfig};

fn context() -> Option<Context> {
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
    let config = LstmConfig::new(3, 9).num_layers(2).bidirectional(true);
    let lstm = Lstm::random(config.clone(), 1).unwrap();
    let call = Call::new(Sequence::batched(&config.0, 12, 5), &Options::new()).unwrap();
    let input: Vec<f32> = (0..12 * 5 * 3).map(|i| (i as f32 * 0.7).sin()).collect();
    let run = |submission_work: u64, wait: Wait| {
        let mut context = context()?;
        context.limits.submission_work = submission_work;
        let context = context.into();
        let model = pollster::block_on(GpuModel::place(&context, &config.0, lstm.layers(), wait)).unwrap();
        let submissions = model.plan(call.task).unwrap().submission_count();
        let computed = pollster::block_on(model.forward(&call, &input, None, wait)).unwrap();
        Some((submissions, computed.output, computed.states))
    };
    let Some((one, output, states)) = run(u64::MAX, Wait::Blocking) else { return };
    assert_eq!(one, 1);
    // A dispatch is the work of 1,000,000 operations and its own few. A threshold below any makes each a submission, and each
    // step a chunk of its own.
    for (threshold, expected) in [(14_500_000, 2), (1, 2 * (12 + 12))] {
        for wait in [Wait::Blocking, Wait::Async] {
            let (several, in_parts, states_in_parts) = run(threshold, wait).unwrap();
            assert_eq!(several, expected, "{threshold}");
            assert_eq!((&in_parts, &states_in_parts), (&output, &states), "{threshold} {wait:?}");
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
