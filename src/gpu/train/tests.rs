//! Gradients by the tiles of real GPUs and of software adapters, on any adapter, and in chunks and submissions that
//! only long work has.

use std::sync::Arc;

use crate::blocking::Wait;
use crate::call::Call;
use crate::device::Device;
use crate::error::Error;
use crate::extents::Extents;
use crate::gpu::context::Context;
use crate::gpu::model::GpuModel;
use crate::gpu::tests::context;
use crate::gradients::{Derived, Given};
use crate::layer::config::Config;
use crate::layer::kind::Kind;
use crate::layer::{GruConfig, Layer, LstmConfig, RnnConfig};
use crate::options::Options;
use crate::precision::Precision;
use crate::tensor::Tensor;
use crate::weights::names;

fn wave(count: usize, frequency: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * frequency).sin()).collect()
}

/// Runs a pass of T = 5 in which rows have lengths 5, 4, 3, 5, …
fn pass<K: Kind>(context: &Arc<Context>, layer: &Layer<K>, batch: usize) -> Derived<f32> {
    let config = &layer.config().0;
    let lengths: Vec<usize> = (0..batch).map(|b| 5 - b % 3).collect();
    let options = Options { lengths: Some(&lengths), ..Options::new() };
    let call = Call::new(Extents::batched(config, 5, batch), &options).unwrap();
    let wait = Wait::Blocking;
    let run = async {
        let model = GpuModel::place(context, config, layer.layers(), Precision::F32, wait).await?;
        let input = wave(5 * batch * config.input_size, 0.7);
        let arrays = model.training(call.task, wait).await?;
        let (_, _, tape) = model.forward_train(arrays, call, &input, None, wait).await?;
        let dy = wave(5 * batch * config.output_size(), 0.3);
        let Derived { input, states, weights } =
            model.backward(tape, &Given { output: Some(&dy), states: None }, wait).await?;
        Ok::<_, Error>(Derived { input, states, weights: weights.read(wait).await? })
    };
    pollster::block_on(run).unwrap()
}

fn check<K: Kind>(context: &Arc<Context>, config: Config<K>, batch: usize) {
    let layer = Layer::<K>::random(config.clone(), 1).unwrap();
    let got = pass(context, &layer, batch);
    let reference = layer.cast::<f64>().unwrap().to(&Device::cpu()).unwrap();
    let tensor = |shape: [usize; 3], values: Vec<f32>| Tensor::new(shape, values).unwrap().cast::<f64>().unwrap();
    let (inputs, outputs) = (config.input_size(), config.0.output_size());
    let x = tensor([5, batch, inputs], wave(5 * batch * inputs, 0.7));
    let dy = tensor([5, batch, outputs], wave(5 * batch * outputs, 0.3));
    let lengths: Vec<usize> = (0..batch).map(|b| 5 - b % 3).collect();
    let expected = reference.request(&x).lengths(&lengths).train().run().unwrap().backward(&dy, None).unwrap();
    // The terms of the longest sums: those over all rows, and those of a gate.
    let terms = 5 * batch + 2 * config.hidden_size().max(inputs) + config.hidden_size() + 2;
    let tolerance = (config.num_layers() * terms) as f64 * f64::from(f32::EPSILON);
    let close = |name: &str, got: &[f32], expected: &[f64]| {
        let largest = expected.iter().fold(1.0_f64, |largest, v| largest.max(v.abs()));
        for (at, (&got, &expected)) in got.iter().zip(expected).enumerate() {
            let difference = (f64::from(got) - expected).abs();
            assert!(difference <= tolerance * largest, "{config}, B = {batch}, {name}[{at}]: {got} {expected}");
        }
    };
    close("input", &got.input, expected.input().data());
    for (name, (state, expected)) in
        ["h_0", "c_0"].iter().zip(got.states.iter().zip(K::arrays(expected.initial_state())))
    {
        close(name, state, expected.data());
    }
    for ((name, got), (_, expected)) in
        names::named(&got.weights, config.directions()).zip(expected.weights().named().unwrap())
    {
        close(&name, got.data(), expected.data());
    }
}

#[test]
fn every_tile_gives_the_gradients_of_the_reference() {
    for software in [false, true] {
        let Some(mut context) = context() else { return };
        context.limits.software = software;
        let context = Arc::new(context);
        for (inputs, hidden, layers) in [(5, 9, 2), (70, 37, 1)] {
            for batch in [1, 3, 5, 9, 17, 33] {
                let lstm = LstmConfig::new(inputs, hidden).with_num_layers(layers).with_bidirectional(layers == 2);
                check(&context, lstm.clone(), batch);
                check(&context, lstm.with_proj_size(hidden / 2), batch);
                let gru = GruConfig::new(inputs, hidden).with_num_layers(layers).with_bidirectional(layers == 1);
                check(&context, gru.clone().with_reset_after(false), batch);
                check(&context, gru, batch);
                check(&context, RnnConfig::new(inputs, hidden).with_num_layers(layers), batch);
            }
        }
        // More rows than one dispatch of the gradients of weights sums, and more features than one input product.
        check(&context, RnnConfig::new(1, 2), 3300);
        check(&context, GruConfig::new(16_390, 2), 3);
    }
}

/// Each dispatch counts as 1,000,000 operations plus its own few: a threshold below that makes each one a submission,
/// and each step a chunk.
#[test]
fn gradients_in_several_submissions_have_the_bits_of_one() {
    fn check<K: Kind>(config: Config<K>) {
        let layer = Layer::<K>::random(config, 1).unwrap();
        for software in [false, true] {
            let run = |submission_work: u64| {
                let mut context = context()?;
                (context.limits.software, context.limits.submission_work) = (software, submission_work);
                Some(pass(&Arc::new(context), &layer, 6))
            };
            let Some(one) = run(u64::MAX) else { return };
            for threshold in [1, 4_500_000] {
                let several = run(threshold).unwrap();
                assert_eq!((&several.input, &several.states), (&one.input, &one.states), "{}", layer.config());
                assert!(several.weights == one.weights, "{}, software: {software}", layer.config());
            }
        }
    }
    check(LstmConfig::new(3, 9).with_num_layers(2).with_bidirectional(true));
    check(LstmConfig::new(3, 9).with_proj_size(4));
    check(GruConfig::new(3, 9).with_bidirectional(true));
    check(GruConfig::new(3, 9).with_reset_after(false));
    check(RnnConfig::new(3, 9));
}
