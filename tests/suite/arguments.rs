//! Every invalid size, shape or weight gets its error, checked by type and by exact message.

use wgpu_rnn::{
    ConcatGates, Device, Error, GateLinear, LayerWeights, Lstm, LstmBuffers, LstmConfig, LstmState, Tensor, wgpu,
};

use crate::support::{gpu, message, zeros};

#[test]
fn arguments_outside_their_range() {
    for (config, expected) in [
        (LstmConfig::new(0, 1), "input_size: expected a size > 0, got 0"),
        (LstmConfig::new(1, 0), "hidden_size: expected a size > 0, got 0"),
        (LstmConfig::new(1, 1).with_num_layers(0), "num_layers: expected a size > 0, got 0"),
        (
            LstmConfig::new(1, 4).with_proj_size(4),
            "proj_size: expected a size below hidden_size, or 0 for no projection, got 4",
        ),
        (LstmConfig::new(1, 1).with_dropout(1.5), "dropout: expected a probability from 0 to 1, got 1.5"),
        (LstmConfig::new(1, 1).with_dropout(-0.1), "dropout: expected a probability from 0 to 1, got -0.1"),
        (LstmConfig::new(1, 1).with_dropout(f64::NAN), "dropout: expected a probability from 0 to 1, got NaN"),
    ] {
        assert_eq!(message(Lstm::random(config.clone(), 0)), expected);
        assert_eq!(message(Lstm::<f32>::new(config, vec![])), expected);
    }
}

#[test]
fn sizes_that_no_machine_can_hold_are_rejected() {
    for config in [
        LstmConfig::new(usize::MAX, 2),
        LstmConfig::new(1, usize::MAX),
        LstmConfig::new(1, 1 << 40),
        LstmConfig::new(1, 2).with_num_layers(usize::MAX),
        LstmConfig::new(1, 1).with_num_layers(1_000_000_000_000),
    ] {
        assert!(matches!(Lstm::random(config, 0), Err(Error::TooLarge { .. })));
    }
    assert!(matches!(Tensor::<f32>::zeros([usize::MAX, 2]), Err(Error::TooLarge { .. })));
    assert!(matches!(Tensor::<f64>::new([usize::MAX, 2], vec![]), Err(Error::TooLarge { .. })));
    assert_eq!(
        message(Tensor::<f32>::zeros([1 << 62, 2])),
        "tensor: [4611686018427387904, 2] elements of 4 bytes do not fit in memory"
    );
}

/// Sizes that hold no elements are no reason to allocate memory.
#[test]
fn a_huge_batch_without_steps_is_a_result_or_an_error() {
    for device in [Some(Device::cpu()), gpu()].iter().flatten() {
        let model = Lstm::random(LstmConfig::new(3, 5), 0).unwrap().to(device).unwrap();
        // More than any address space: what a system hands out may be more memory than it has.
        for batch in [1_usize << 50, usize::MAX] {
            let error = message(Tensor::zeros([0, batch, 3]).and_then(|x| model.forward(&x, None)));
            assert!(error.contains("do not fit in memory"), "{error}");
        }
        let Some((wgpu, _)) = device.wgpu() else { continue };
        let buffer = wgpu.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 64,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
        let buffers = LstmBuffers::new(&buffer, &buffer, &buffer, &buffer);
        let mut encoder = wgpu.create_command_encoder(&Default::default());
        for (time_steps, batch) in [(1, usize::MAX), (usize::MAX, 1), (1 << 30, 1 << 30)] {
            assert!(matches!(model.encode(&mut encoder, time_steps, batch, &buffers), Err(Error::Limit { .. })));
            assert!(matches!(model.plan(time_steps, batch), Err(Error::Limit { .. })));
        }
        assert_eq!(model.plan(usize::MAX, 0).unwrap().as_gpu().unwrap().dispatch_count(), 0);
    }
}

#[test]
fn inputs_and_states_of_the_wrong_shape() {
    let devices = [Some(Device::cpu()), gpu()];
    let config = LstmConfig::new(3, 5).with_num_layers(2).with_bidirectional(true);
    for device in devices.iter().flatten() {
        let lstm = Lstm::random(config.clone(), 0).unwrap();
        let model = lstm.to(device).unwrap();
        let rejected = |x: &[usize], state: Option<[&[usize]; 2]>| {
            let state = state.map(|[h, c]| LstmState { h: zeros(h), c: zeros(c) });
            message(model.forward(&zeros(x), state.as_ref()))
        };
        let batched = "input: expected shape [T, B, I] or unbatched [T, I] with I = 3, got ";
        assert_eq!(rejected(&[7, 2, 4], None), format!("{batched}[7, 2, 4]"));
        assert_eq!(rejected(&[7, 4], None), format!("{batched}[7, 4]"));
        assert_eq!(rejected(&[3], None), format!("{batched}[3]"));
        assert_eq!(rejected(&[], None), format!("{batched}[]"));
        assert_eq!(rejected(&[1, 1, 1, 3], None), format!("{batched}[1, 1, 1, 3]"));
        let (good, bad): (&[usize], &[usize]) = (&[4, 2, 5], &[2, 2, 5]);
        let expected = "expected shape [4, 2, 5] ([L·D, B, H]), got [2, 2, 5]";
        assert_eq!(rejected(&[7, 2, 3], Some([bad, good])), format!("h_0: {expected}"));
        assert_eq!(rejected(&[7, 2, 3], Some([good, bad])), format!("c_0: {expected}"));
        assert_eq!(
            rejected(&[7, 2, 3], Some([&[4, 5], &[4, 5]])),
            "h_0: expected shape [4, 2, 5] ([L·D, B, H], as the input is batched), got [4, 5]"
        );
        assert_eq!(
            rejected(&[7, 3], Some([good, good])),
            "h_0: expected shape [4, 5] ([L·D, H], as the input is unbatched), got [4, 2, 5]"
        );
        let batch_first = lstm.clone().with_batch_first(true).to(device).unwrap();
        assert_eq!(
            message(batch_first.forward(&zeros(&[2, 2]), None)),
            "input: expected shape [B, T, I] or unbatched [T, I] with I = 3, got [2, 2]"
        );
        // A state of T rows: the input lies in the other layout.
        let hint = "; 7 is T: for an input [B, T, I], set with_batch_first(true)";
        assert_eq!(
            rejected(&[7, 2, 3], Some([&[4, 7, 5], good])),
            format!("h_0: expected shape [4, 2, 5] ([L·D, B, H]{hint}), got [4, 7, 5]")
        );
        assert_eq!(
            rejected(&[7, 2, 3], Some([good, &[4, 7, 5]])),
            format!("c_0: expected shape [4, 2, 5] ([L·D, B, H]{hint}), got [4, 7, 5]")
        );
        // So many rows, of another size.
        assert_eq!(
            rejected(&[7, 2, 3], Some([&[4, 7, 6], good])),
            "h_0: expected shape [4, 2, 5] ([L·D, B, H]), got [4, 7, 6]"
        );
        let state = LstmState { h: zeros(&[4, 2, 5]), c: zeros(&[4, 2, 5]) };
        assert_eq!(
            message(batch_first.forward(&zeros(&[7, 2, 3]), &state)),
            "h_0: expected shape [4, 7, 5] ([L·D, B, H]; 2 is T: for an input [T, B, I], set with_batch_first(false)), \
             got [4, 2, 5]"
        );
        // Empty input is checked like any other.
        assert_eq!(rejected(&[0, 2, 4], None), format!("{batched}[0, 2, 4]"));
        assert!(rejected(&[0, 2, 3], Some([bad, good])).starts_with("h_0: "));
    }
}

#[test]
fn states_of_a_projected_lstm_differ_in_shape() {
    let model = Lstm::random(LstmConfig::new(3, 5).with_proj_size(2), 0).unwrap().to(&Device::cpu()).unwrap();
    let rejected = |h: &[usize], c: &[usize]| {
        let state = LstmState { h: zeros(h), c: zeros(c) };
        message(model.forward(&zeros(&[4, 2, 3]), Some(&state)))
    };
    assert_eq!(rejected(&[1, 2, 5], &[1, 2, 5]), "h_0: expected shape [1, 2, 2] ([L·D, B, P]), got [1, 2, 5]");
    assert_eq!(rejected(&[1, 2, 2], &[1, 2, 2]), "c_0: expected shape [1, 2, 5] ([L·D, B, H]), got [1, 2, 2]");
}

#[test]
fn views_check_their_shape() {
    let config = LstmConfig::new(3, 5).with_num_layers(2).with_bidirectional(true);
    assert_eq!(message(config.split_output(&zeros(&[4, 2, 5]))), "output: expected shape […, 10], got [4, 2, 5]");
    assert_eq!(message(config.split_output(&zeros(&[10]))), "output: expected shape [T, B, 10] or [T, 10], got [10]");
    assert_eq!(
        message(config.split_state(&zeros(&[2, 3, 5]))),
        "state: expected shape [4, B, 5] or [4, 5], got [2, 3, 5]"
    );
    assert_eq!(config.split_output(&zeros(&[7, 10])).unwrap().shape(), [7, 2, 5]);
    assert_eq!(config.split_state(&zeros(&[4, 5])).unwrap().shape(), [2, 2, 5]);
    assert_eq!(config.split_state(&zeros(&[4, 0, 5])).unwrap().shape(), [2, 2, 0, 5]);
}

#[test]
fn weights_that_do_not_fit() {
    let layer = |i, h| LayerWeights::new(zeros(&[4 * h, i]), zeros(&[4 * h, h]));
    let config = LstmConfig::new(3, 2).with_bias(false);
    let new = |layers| message(Lstm::new(config.clone(), layers));
    assert_eq!(
        new(vec![layer(3, 2), layer(2, 2)]),
        "layers: expected shape [1] (num_layers·directions entries, index layer·directions + direction), got [2]"
    );
    assert_eq!(new(vec![layer(4, 2)]), "tensor weight_ih_l0: expected shape [8, 3], got [8, 4]");
    let three_gates = LayerWeights::new(zeros(&[8, 3]), zeros(&[6, 2]));
    assert_eq!(new(vec![three_gates]), "tensor weight_hh_l0: expected shape [8, 2], got [6, 2]");
    let with_projection = layer(3, 2).with_projection(zeros(&[1, 2]));
    assert_eq!(new(vec![with_projection]), "tensor weight_hr_l0 does not fit: the model has proj_size=0");
    assert_eq!(
        message(Lstm::new(config.clone().with_proj_size(1), vec![LayerWeights::new(zeros(&[8, 3]), zeros(&[8, 1]))])),
        "tensor weight_hr_l0 is missing: the model has proj_size > 0"
    );
    let with_bias = layer(3, 2).with_bias(zeros(&[8]), zeros(&[8]));
    assert_eq!(new(vec![with_bias]), "tensor bias_ih_l0 does not fit: the model has bias=false");
    assert_eq!(
        message(Lstm::new(LstmConfig::new(3, 2), vec![layer(3, 2)])),
        "tensor bias_ih_l0 is missing: the model has bias=true"
    );
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut weight_hh = zeros(&[8, 2]);
        weight_hh.data_mut()[2 * 5 + 1] = bad;
        let expected = format!("tensor weight_hh_l0: expected finite values, got {bad} at [5, 1]");
        assert_eq!(new(vec![LayerWeights::new(zeros(&[8, 3]), weight_hh)]), expected);
    }
}

#[test]
fn gates_that_do_not_match_each_other() {
    let linear = |h: usize, columns: usize| GateLinear { weight: zeros(&[h, columns]), bias: Some(zeros(&[h])) };
    let good = || ConcatGates { forget: linear(2, 5), input: linear(2, 5), output: linear(2, 5), cell: linear(2, 5) };
    assert!(Lstm::from_concat_gates(&[good()]).is_ok());
    assert_eq!(message(Lstm::<f32>::from_concat_gates(&[])), "layers: expected at least one layer, got none");
    let import = |gates| message(Lstm::from_concat_gates(&[gates]));
    assert_eq!(
        import(ConcatGates { forget: linear(5, 5), ..good() }),
        "forget.weight: expected shape [H, I + H] with I > 0 and H > 0, got [5, 5]"
    );
    assert_eq!(import(ConcatGates { cell: linear(2, 6), ..good() }), "cell.weight: expected shape [2, 5], got [2, 6]");
    let no_bias = GateLinear { weight: zeros(&[2, 5]), bias: None };
    assert_eq!(
        import(ConcatGates { output: no_bias, ..good() }),
        "tensor bias is missing: some of the four gates have a bias; either all or none must have one"
    );
    let wrong_bias = GateLinear { weight: zeros(&[2, 5]), bias: Some(zeros(&[3])) };
    assert_eq!(import(ConcatGates { input: wrong_bias, ..good() }), "input.bias: expected shape [2], got [3]");
    let both = Lstm::random(LstmConfig::new(1, 1).with_bidirectional(true), 0).unwrap();
    assert_eq!(
        message(both.to_concat_gates()),
        "a bidirectional model as one Linear per gate is not supported: the hand-written form has one direction"
    );
}

#[test]
fn f64_does_not_run_on_a_gpu() {
    let Some(gpu) = gpu() else { return };
    assert_eq!(
        message(Lstm::random(LstmConfig::new(1, 1), 0).unwrap().cast::<f64>().unwrap().to(&gpu)),
        "a model of f64 on a GPU is not supported: WGSL has no f64; load it as f32, or place it on the CPU"
    );
}
