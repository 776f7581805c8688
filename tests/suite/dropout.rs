//! Dropout: what PyTorch's rules say of it, and masks that every device agrees on.

use wgpu_rnn::{
    Config, Device, GruBuffers, GruConfig, Kind, Layer, LayerWeights, LstmConfig, Mode, Nonlinearity, Placed, Rnn,
    RnnConfig, RnnKind, Strategy, Tensor, wgpu,
};

use crate::compare::{Tolerance, compare};
use crate::support::{bits, gpu, on_both, own_device, reduction_length, slice, state, uniform};

fn train<K: Kind>(config: Config<K>, device: &Device, seed: u64) -> Placed<K> {
    let placed = Layer::random(config, 1).unwrap().to(device).unwrap();
    placed.set_mode(Mode::Training { seed });
    placed
}

/// A stack whose layers pass on what they read: relu of the identity. Its last output is the input through every mask.
fn pass_on(size: usize, layers: usize, p: f64, device: &Device, seed: u64) -> Placed<RnnKind> {
    let mut identity = Tensor::zeros([size, size]).unwrap();
    (0..size).for_each(|i| identity.data_mut()[i * size + i] = 1.0);
    let weights = LayerWeights::new(identity, Tensor::zeros([size, size]).unwrap());
    let config =
        RnnConfig::new(size, size).with_num_layers(layers).with_bias(false).with_nonlinearity(Nonlinearity::Relu);
    let placed = Rnn::new(config.with_dropout(p), vec![weights; layers]).unwrap().to(device).unwrap();
    placed.set_mode(Mode::Training { seed });
    placed
}

fn ones(shape: &[usize]) -> Tensor {
    let mut ones = Tensor::zeros(shape).unwrap();
    ones.data_mut().fill(1.0);
    ones
}

#[test]
fn a_share_of_p_is_dropped_and_the_rest_is_scaled() {
    on_both(|device| {
        let x = ones(&[50, 8, 40]);
        let n = x.data().len() as f64;
        for p in [0.1, 0.5, 0.75] {
            let (output, last) = pass_on(40, 2, p, device, 7).forward(&x, None).unwrap();
            let scale = (1.0 / (1.0 - p)) as f32;
            assert!(output.data().iter().all(|&v| v == 0.0 || v == scale), "{p} on {device}");
            // Of n draws, 5 standard deviations: one run in two million fails by chance, and the seed is fixed.
            let dropped = output.data().iter().filter(|&&v| v == 0.0).count() as f64;
            assert!((dropped - n * p).abs() < 5.0 * (n * p * (1.0 - p)).sqrt(), "{dropped} of {n} at {p} on {device}");
            // In every place of a row as often as elsewhere.
            for k in 0..40 {
                let column = output.data().iter().skip(k).step_by(40).filter(|&&v| v == 0.0).count() as f64;
                assert!((column - 400.0 * p).abs() < 5.0 * (400.0 * p * (1.0 - p)).sqrt(), "{column} in {k} at {p}");
            }
            // h_n is taken before dropout: the first layer's is the input.
            assert!(last.data()[..8 * 40].iter().all(|&v| v == 1.0), "{p} on {device}");
        }
    });
}

#[test]
fn masks_differ_by_layer_and_by_call_and_follow_from_the_seed() {
    on_both(|device| {
        let x = ones(&[20, 4, 16]);
        let mask = |placed: &Placed<RnnKind>| placed.forward(&x, None).unwrap().0;
        let one = pass_on(16, 2, 0.5, device, 7);
        let (first, second) = (mask(&one), mask(&one));
        assert_ne!(bits(&first), bits(&second), "two calls on {device}");
        // The same seed, the same calls; another seed, others.
        let again = pass_on(16, 2, 0.5, device, 7);
        assert_eq!((bits(&mask(&again)), bits(&mask(&again))), (bits(&first), bits(&second)), "{device}");
        assert_ne!(bits(&mask(&pass_on(16, 2, 0.5, device, 8))), bits(&first), "{device}");
        assert_ne!(bits(&mask(&pass_on(16, 2, 0.5, device, 7 + (1 << 32)))), bits(&first), "{device}");
        // Were a mask used for two layers, what passes the first would pass the second: a half, not a quarter.
        let passed = mask(&pass_on(16, 3, 0.5, device, 7)).data().iter().filter(|&&v| v != 0.0).count() as f64;
        let n = x.data().len() as f64;
        assert!((passed - n / 4.0).abs() < 5.0 * (n * 3.0 / 16.0).sqrt(), "{passed} of {n} on {device}");
    });
}

fn check_both_devices<K: Kind>(cpu: &Device, gpu: &Device, config: Config<K>) {
    let (t, b) = (9, 5);
    let shape = if config.batch_first() { [b, t, config.input_size()] } else { [t, b, config.input_size()] };
    let (x, initial) = (uniform(&shape, 2), state(&config, b, 3));
    let lengths = [9, 3, 0, 7, 9];
    let (on_cpu, on_gpu) = (train(config.clone(), cpu, 11), train(config.clone(), gpu, 11));
    // Dropout doubles what a layer reads.
    let tolerance = Tolerance::of_f32_sum(2 * reduction_length(&config));
    for call in 0..3 {
        let expected = on_cpu.request(&x).state(&initial).lengths(&lengths).padding_value(2.0).run().unwrap();
        let got = on_gpu.request(&x).state(&initial).lengths(&lengths).padding_value(2.0).run().unwrap();
        let name = format!("{config}, call {call}");
        compare(&name, got.0.data(), expected.0.data(), tolerance).unwrap();
        for (got, expected) in K::arrays(&got.1).into_iter().zip(K::arrays(&expected.1)) {
            compare(&name, got.data(), expected.data(), tolerance).unwrap();
        }
    }
    // A call that is refused draws nothing, and one with all states as much as any.
    assert!(on_gpu.forward(&Tensor::zeros([1, 1, 1, 1]).unwrap(), None).is_err());
    let expected = on_cpu.request(&x).lengths(&lengths).padding_value(2.0).all_states().run().unwrap();
    let got = on_gpu.request(&x).lengths(&lengths).padding_value(2.0).all_states().run().unwrap();
    for (got, expected) in K::arrays(&got.all).into_iter().zip(K::arrays(&expected.all)) {
        compare(&format!("{config}, all states"), got.data(), expected.data(), tolerance).unwrap();
    }
}

#[test]
fn the_cpu_and_a_gpu_have_the_same_masks() {
    let (cpu, Some(gpu)) = (Device::cpu(), gpu()) else { return };
    for bidirectional in [false, true] {
        let lstm = LstmConfig::new(3, 19).with_num_layers(3).with_dropout(0.5).with_bidirectional(bidirectional);
        check_both_devices(&cpu, &gpu, lstm.clone());
        check_both_devices(&cpu, &gpu, lstm.clone().with_batch_first(true).with_bias(false));
        check_both_devices(&cpu, &gpu, lstm.with_proj_size(5));
        let gru = GruConfig::new(3, 19).with_num_layers(2).with_dropout(0.3).with_bidirectional(bidirectional);
        check_both_devices(&cpu, &gpu, gru.clone().with_reset_after(false));
        check_both_devices(&cpu, &gpu, gru);
    }
    // f64 on the CPU drops the same elements.
    let rnn = || pass_on(16, 2, 0.5, &cpu, 3).forward(&ones(&[5, 16]), None).unwrap().0;
    let layer = Rnn::random(RnnConfig::new(16, 16).with_num_layers(2).with_dropout(0.5), 1).unwrap();
    let f64s = layer.cast::<f64>().unwrap().to(&cpu).unwrap();
    let f32s = layer.to(&cpu).unwrap();
    f64s.set_mode(Mode::Training { seed: 3 });
    f32s.set_mode(Mode::Training { seed: 3 });
    let x = uniform(&[5, 16], 4);
    let (a, b) = (f64s.forward(&x.cast().unwrap(), None).unwrap().0, f32s.forward(&x, None).unwrap().0);
    compare("f32 and f64", b.data(), a.data(), Tolerance::of_f32_sum(64)).unwrap();
    assert_eq!(bits(&rnn()), bits(&rnn()));
}

#[test]
fn nothing_is_dropped_at_0_in_evaluation_or_by_one_layer() {
    on_both(|device| {
        let x = uniform(&[6, 3, 5], 2);
        let config = LstmConfig::new(5, 9).with_num_layers(2);
        let expected =
            bits(&Layer::random(config.clone(), 1).unwrap().to(device).unwrap().forward(&x, None).unwrap().0);
        let output = |placed: &Placed<_>| bits(&placed.forward(&x, None).unwrap().0);
        assert_eq!(output(&train(config.clone().with_dropout(0.0), device, 7)), expected, "p = 0 on {device}");
        let placed = train(config.clone().with_dropout(0.5), device, 7);
        assert_ne!(output(&placed), expected, "training on {device}");
        placed.set_mode(Mode::Evaluation);
        assert_eq!(output(&placed), expected, "evaluation on {device}");
        let placed = Layer::random(config, 1).unwrap().with_dropout(0.5).unwrap().to(device).unwrap();
        assert_eq!(output(&placed), expected, "as placed on {device}");
        let single = LstmConfig::new(5, 9);
        let expected =
            bits(&Layer::random(single.clone(), 1).unwrap().to(device).unwrap().forward(&x, None).unwrap().0);
        assert_eq!(output(&train(single.with_dropout(0.5), device, 7)), expected, "one layer on {device}");
    });
}

#[test]
fn everything_is_dropped_at_1() {
    on_both(|device| {
        let x = uniform(&[6, 3, 5], 2);
        let placed = pass_on(5, 2, 1.0, device, 7);
        let (output, _) = placed.forward(&x, None).unwrap();
        assert!(output.data().iter().all(|&v| v == 0.0), "{device}: {:?}", output.data());
        // PyTorch multiplies with 0, so that NaN stays, in its row.
        let mut spoilt = x.clone();
        spoilt.data_mut()[4] = f32::NAN;
        let (output, _) = placed.forward(&spoilt, None).unwrap();
        let first = slice(&output, 1, 0..1);
        assert!(first.data().iter().all(|v| v.is_nan()), "{device}: {:?}", first.data());
        assert!(slice(&output, 1, 1..3).data().iter().all(|&v| v == 0.0), "{device}");
    });
}

#[test]
fn streams_with_dropout_are_refused() {
    let placed = train(LstmConfig::new(5, 9).with_num_layers(2).with_dropout(0.5), &Device::cpu(), 7);
    assert_eq!(
        placed.streams(1).run().unwrap_err().to_string(),
        "dropout over streams is not supported: a stream is the same however it is cut, and masks are a call's; \
         set the mode to evaluation"
    );
    assert!(train(LstmConfig::new(5, 9).with_num_layers(2), &Device::cpu(), 7).streams(1).run().is_ok());
}

/// Also one that is refused by the device's limits, which the CPU does not have.
#[test]
fn a_refused_call_draws_no_mask() {
    if gpu().is_none() {
        return;
    }
    let (device, queue) = own_device(|limits| limits.max_storage_buffer_binding_size = 1 << 20);
    let config = GruConfig::new(3, 9).with_num_layers(2).with_dropout(0.5);
    let (cpu, gpu) = (train(config.clone(), &Device::cpu(), 5), train(config, &Device::from_wgpu(device, queue), 5));
    let x = uniform(&[4, 2, 3], 2);
    for _ in 0..2 {
        let refused = gpu.forward(&Tensor::zeros([30_000, 2, 3]).unwrap(), None).unwrap_err();
        assert!(matches!(refused, wgpu_rnn::Error::Limit { .. }), "{refused}");
        let (expected, got) = (cpu.forward(&x, None).unwrap().0, gpu.forward(&x, None).unwrap().0);
        compare("after a refused call", got.data(), expected.data(), Tolerance::of_f32_sum(64)).unwrap();
    }
    // Nor does a refused recording, here of a strategy that copies the output.
    let (device, _) = gpu.device().wgpu().unwrap();
    let buffer = |usage| {
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 1024, usage, mapped_at_creation: false })
    };
    let (storage, state) = (wgpu::BufferUsages::STORAGE, wgpu::BufferUsages::COPY_DST);
    let [input, output, h_n] = [storage, storage, storage | state].map(buffer);
    gpu.set_strategy(Strategy::Wavefront).unwrap();
    let mut encoder = device.create_command_encoder(&Default::default());
    let refused = gpu.encode(&mut encoder, 4, 2, &GruBuffers::new(&input, &output, &h_n)).unwrap_err();
    assert!(matches!(refused, wgpu_rnn::Error::Buffer { name: "output", .. }), "{refused}");
    let (expected, got) = (cpu.forward(&x, None).unwrap().0, gpu.forward(&x, None).unwrap().0);
    compare("after a refused recording", got.data(), expected.data(), Tolerance::of_f32_sum(64)).unwrap();
}
