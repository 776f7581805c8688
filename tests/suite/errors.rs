//! Every invalid input gets its error, checked by type and by exact message.

use std::error::Error as _;

use safetensors::{Dtype, tensor::TensorView};
use wgpu_rnn::{
    AnyLayer, ConcatGates, Device, Error, GateLinear, Gru, LayerWeights, Lstm, LstmBuffers, LstmCell, LstmConfig,
    LstmState, RnnCell, Tensor, TensorFile, wgpu,
};

use crate::support::{gpu, own_device, uniform};

fn message<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => error.to_string(),
    }
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape).unwrap()
}

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
        for batch in [1_usize << 40, usize::MAX] {
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
fn data_must_fill_a_shape() {
    assert_eq!(message(Tensor::new([2, 3], vec![0.0_f32; 5])), "tensor: shape [2, 3] holds 6 elements, got 5");
    assert_eq!(message(zeros(&[2, 3]).view([4])), "view: shape [4] holds 4 elements, got 6");
    assert_eq!(zeros(&[2, 3]).get(&[2, 0]), None);
    assert_eq!(zeros(&[2, 3]).get(&[0]), None);
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
fn elements_and_rows_are_found_or_none() {
    let mut x = Tensor::new([2, 2, 3], (0..12).map(|n| n as f32).collect::<Vec<_>>()).unwrap();
    assert_eq!((x.get(&[1, 0, 2]), x.row(&[1, 0])), (Some(8.0), Some(&[6.0, 7.0, 8.0][..])));
    for outside in [&[2, 0][..], &[0, 2], &[0], &[0, 0, 0], &[]] {
        assert!(x.row(outside).is_none() && x.row_mut(outside).is_none());
    }
    assert_eq!((x.get(&[0, 0]), x.get(&[0, 0, 3])), (None, None));
    x.row_mut(&[0, 1]).unwrap().fill(9.0);
    let view = x.view([4, 3]).unwrap();
    assert_eq!((view.row(&[1]), view.get(&[1, 2])), (Some(&[9.0; 3][..]), Some(9.0)));
    assert_eq!(view.to_tensor().unwrap().shape(), [4, 3]);
    assert_eq!(view.to_tensor().unwrap().data(), x.data());
    let empty = zeros(&[2, 0]);
    assert_eq!((empty.row(&[1]), empty.row(&[2]), empty.get(&[0, 0])), (Some(&[][..]), None, None));
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

fn file(dtype: Dtype, tensors: &[(&str, &[usize])]) -> TensorFile {
    let size = dtype.bitsize() / 8;
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, s)| vec![0; s.iter().product::<usize>() * size]).collect();
    let views =
        tensors.iter().zip(&bytes).map(|((name, s), b)| (*name, TensorView::new(dtype, s.to_vec(), b).unwrap()));
    TensorFile::from_bytes(safetensors::serialize(views, None).unwrap()).unwrap()
}

#[test]
fn files_without_a_fitting_model() {
    let load = |tensors: &[(&str, &[usize])], prefix: &str| {
        message(Lstm::<f32>::from_tensor_file(&file(Dtype::F32, tensors), prefix))
    };
    assert_eq!(
        load(&[("head.weight", &[1, 1])], ""),
        "no recurrent layer under prefix \"\" (no tensor weight_ih_l0); \
        the file has no tensor named like a recurrent layer's"
    );
    assert_eq!(
        load(&[("b.weight_ih_l0", &[4, 1]), ("a.weight_ih_l0", &[4, 1])], "c."),
        "no recurrent layer under prefix \"c.\" (no tensor c.weight_ih_l0); \
        the file has recurrent layers under [\"a.\", \"b.\"]"
    );
    // A cell under the prefix itself is named even where there are layers; others only where there is no layer.
    let cell = [("c.weight_ih", &[3, 1][..]), ("c.weight_hh", &[3, 1])];
    assert_eq!(
        load(&[cell[0], cell[1], ("a.weight_ih_l0", &[4, 1])], "c."),
        "no recurrent layer under prefix \"c.\" (no tensor c.weight_ih_l0); \
         the file has recurrent layers under [\"a.\"]; it has cells under [\"c.\"]: load GruCell"
    );
    assert!(load(&[cell[0], cell[1], ("a.weight_ih_l0", &[4, 1])], "b.").ends_with("recurrent layers under [\"a.\"]"));
    assert_eq!(load(&[("weight_ih_l0", &[4, 1])], ""), "tensor weight_hh_l0 is missing: weight_ih_l0 exists");
    assert_eq!(load(&[("p.bias_hh_l0", &[4])], "p."), "tensor p.weight_ih_l0 is missing: p.bias_hh_l0 exists");
    assert_eq!(
        load(&[("weight_ih_l0", &[4, 1]), ("weight_hh_l0", &[4, 1]), ("bias_hh_l0", &[4])], ""),
        "tensor bias_ih_l0 is missing: the other names under \"\" describe LSTM(1, 1)"
    );
    assert_eq!(
        load(&[("weight_ih_l0", &[4, 1]), ("weight_hh_l0", &[4, 1]), ("weight_hh_l0_reverse", &[4, 1])], ""),
        "tensor weight_ih_l0_reverse is missing: the other names under \"\" describe \
         LSTM(1, 1, bias=false, bidirectional=true)"
    );
    assert_eq!(
        load(&[("weight_ih_l0", &[4, 1]), ("weight_hh_l0", &[4, 1]), ("weight_ih_l9", &[4, 1])], ""),
        "tensor weight_ih_l9 does not fit: layers are numbered from 0 without a gap"
    );
    for odd in ["p.weight_ih_l007", "p.weight_hh_l18446744073709551616", "p.weight_ih_l1_reversed"] {
        assert_eq!(
            load(&[("p.weight_ih_l0", &[4, 1]), ("p.weight_hh_l0", &[4, 1]), (odd, &[4, 1])], "p."),
            format!("tensor {odd} does not fit: it is named like a parameter, except for its layer number")
        );
    }
    let huge = format!("weight_ih_l{}", usize::MAX);
    assert_eq!(
        load(&[("weight_ih_l0", &[4, 1]), ("weight_hh_l0", &[4, 1]), (&huge, &[4, 1])], ""),
        format!("tensor {huge} does not fit: layers are numbered from 0 without a gap")
    );
    assert_eq!(
        load(&[("weight_ih_l0", &[8, 1]), ("weight_hh_l0", &[8, 1]), ("weight_hr_l0", &[2, 2])], ""),
        "tensor weight_hr_l0: expected shape [1, H] with H > 1 > 0, got [2, 2]"
    );
    assert_eq!(
        load(&[("weight_ih_l0", &[8, 1]), ("weight_hh_l0", &[8, 1]), ("weight_hr_l1", &[1, 2])], ""),
        "tensor weight_hr_l0 is missing: weight_hr_l1 exists"
    );
    let projected_gru =
        file(Dtype::F32, &[("weight_ih_l0", &[6, 1]), ("weight_hh_l0", &[6, 1]), ("weight_hr_l0", &[1, 2])]);
    assert_eq!(
        message(Gru::<f32>::from_tensor_file(&projected_gru, "")),
        "tensor weight_hr_l0 does not fit: only an LSTM has a projection, and this is read as a GRU"
    );
    assert_eq!(
        load(&[("weight_ih_l0", &[6, 1]), ("weight_hh_l0", &[6, 2])], ""),
        "tensor weight_hh_l0: expected shape [4·H, H] of the LSTM (3·H rows are a GRU's), got [6, 2]"
    );
    assert_eq!(
        load(&[("weight_ih_l0", &[2, 1]), ("weight_hh_l0", &[2, 2])], ""),
        "tensor weight_hh_l0: expected shape [4·H, H] of the LSTM (H rows are an RNN's), got [2, 2]"
    );
    assert_eq!(
        load(&[("weight_ih_l0", &[7, 1]), ("weight_hh_l0", &[8, 2])], ""),
        "tensor weight_ih_l0: expected shape [8, I], got [7, 1]"
    );
    assert_eq!(
        load(&[("weight_ih_l0", &[8]), ("weight_hh_l0", &[8, 2])], ""),
        "tensor weight_ih_l0: expected shape two dimensions, got [8]"
    );
    assert_eq!(
        load(&[("weight_ih_l0", &[0, 1]), ("weight_hh_l0", &[0, 0])], ""),
        "tensor weight_hh_l0: expected shape [4·H, H] of the LSTM, got [0, 0]"
    );
    assert_eq!(
        load(&[("weight_ih_l0", &[4, 0]), ("weight_hh_l0", &[4, 1])], ""),
        "input_size: expected a size > 0, got 0"
    );
    let second = [
        ("p.weight_ih_l0", &[4, 3][..]),
        ("p.weight_hh_l0", &[4, 1]),
        ("p.weight_ih_l1", &[4, 3]),
        ("p.weight_hh_l1", &[4, 1]),
    ];
    assert_eq!(load(&second, "p."), "tensor p.weight_ih_l1: expected shape [4, 1], got [4, 3]");
    let integers = file(Dtype::I64, &[("weight_ih_l0", &[4, 1]), ("weight_hh_l0", &[4, 1])]);
    assert_eq!(
        message(Lstm::<f32>::from_tensor_file(&integers, "")),
        "tensor weight_ih_l0: expected F32, F64, F16 or BF16, got I64"
    );
}

/// Names differ by `_l0` alone, so that a cell is easily read as a layer and a layer as a cell. What is there says
/// which type reads it, not the type that was tried.
#[test]
fn a_cell_is_no_layer_and_a_layer_no_cell() {
    let none = |what: &str, missing: &str| {
        format!(
            "no recurrent {what} under prefix \"encoder.\" (no tensor encoder.{missing}); \
             the file has no tensor named like a recurrent {what}'s; "
        )
    };
    for (gates, cell, layer) in [(4, "LstmCell", "Lstm"), (3, "GruCell", "Gru"), (1, "RnnCell", "Rnn")] {
        let shape = [2 * gates, 2];
        let cells = file(Dtype::F32, &[("encoder.weight_ih", &shape), ("encoder.weight_hh", &shape)]);
        let expected = format!("{}it has cells under [\"encoder.\"]: load {cell}", none("layer", "weight_ih_l0"));
        assert_eq!(message(Lstm::from_tensor_file(&cells, "encoder.")), expected);
        assert_eq!(message(Gru::from_tensor_file(&cells, "encoder.")), expected);
        assert_eq!(message(AnyLayer::from_tensor_file(&cells, "encoder.")), expected);
        assert_eq!(message(cells.layer("encoder.")), expected);

        let layers = file(Dtype::F32, &[("encoder.weight_ih_l0", &shape), ("encoder.weight_hh_l0", &shape)]);
        let expected = format!("{}it has layers under [\"encoder.\"]: load {layer}", none("cell", "weight_ih"));
        assert_eq!(message(LstmCell::from_tensor_file(&layers, "encoder.")), expected);
        assert_eq!(message(RnnCell::from_tensor_file(&layers, "encoder.")), expected);
    }
    let both = file(
        Dtype::F32,
        &[
            ("a.weight_ih", &[8, 2]),
            ("a.weight_hh", &[8, 2]),
            ("b.weight_ih", &[6, 2]),
            ("b.weight_hh", &[6, 2]),
            ("c.weight_ih", &[6, 2]),
            ("c.weight_hh", &[6, 2]),
        ],
    );
    let expected = "it has cells under [\"a.\", \"b.\", \"c.\"]: load GruCell or LstmCell";
    let got = message(Lstm::from_tensor_file(&both, "encoder."));
    assert_eq!(got, format!("{}{expected}", none("layer", "weight_ih_l0")));
    let Err(Error::NoModel { found, others, .. }) = Lstm::from_tensor_file(&both, "b.") else { panic!() };
    assert_eq!((found.len(), others.len()), (0, 1));
    assert_eq!((&*others[0].prefix, others[0].reader.as_deref()), ("b.", Some("GruCell")));
}

/// A tensor of whole numbers has its own reader, which a layer's weights do not want.
#[test]
fn whole_numbers_are_read_as_such() {
    for (dtype, advice) in [
        (Dtype::I64, " (whole numbers: TensorFile::integers)"),
        (Dtype::I32, " (whole numbers: TensorFile::integers)"),
        (Dtype::U8, ""),
        (Dtype::BOOL, ""),
    ] {
        let file = file(dtype, &[("lengths", &[2])]);
        assert_eq!(
            message(file.tensor::<f32>("lengths")),
            format!("tensor lengths: expected F32, F64, F16 or BF16, got {dtype}{advice}")
        );
        assert_eq!(file.integers("lengths").is_ok(), !advice.is_empty());
    }
    let gates = file(
        Dtype::I64,
        &[("forget.weight", &[1, 2]), ("input.weight", &[1, 2]), ("output.weight", &[1, 2]), ("cell.weight", &[1, 2])],
    );
    assert_eq!(
        message(ConcatGates::from_tensor_file(&gates, "")),
        "tensor forget.weight: expected F32, F64, F16 or BF16, got I64"
    );
}

#[test]
fn a_weight_beyond_the_range_of_f32_is_found() {
    let mut model = Tensor::<f64>::zeros([4, 1]).unwrap();
    model.data_mut()[2] = 1e300;
    let other = Tensor::<f64>::zeros([4, 1]).unwrap();
    let bytes = TensorFile::serialize(&[("e.weight_ih_l0", &model), ("e.weight_hh_l0", &other)]).unwrap();
    let file = TensorFile::from_bytes(bytes).unwrap();
    assert!(Lstm::from_tensor_file_as::<f64>(&file, "e.").is_ok());
    assert_eq!(
        message(Lstm::<f32>::from_tensor_file(&file, "e.")),
        "tensor e.weight_ih_l0: expected finite values, got inf at [2, 0]"
    );
}

#[test]
fn files_that_are_not_safetensors() {
    let missing = Lstm::from_safetensors("no/such/file.safetensors", "").unwrap_err();
    assert_eq!(missing.to_string(), "no/such/file.safetensors: the file could not be read");
    // Printed as a chain, the reason appears once, with the operating system's message.
    let chain = format!("{:#}", anyhow::Error::from(missing));
    assert!(chain.starts_with("no/such/file.safetensors: the file could not be read: No such file"), "{chain}");
    assert_eq!(chain.matches("No such file").count(), 1, "{chain}");
    let folder = tempfile::tempdir().unwrap();
    let good = TensorFile::serialize(&[("input", &uniform(&[3, 2], 0))]).unwrap();
    let mut bad: Vec<Vec<u8>> = vec![vec![], vec![1, 2, 3], b"not a safetensors file at all".to_vec(), vec![0xff; 64]];
    bad.push([&good[..], &[0]].concat());
    for n in 0..good.len() {
        bad.push(good[..n].to_vec());
    }
    for bytes in bad {
        let path = folder.path().join("x.safetensors");
        std::fs::write(&path, &bytes).unwrap();
        let opened = TensorFile::open(&path).unwrap_err();
        let error = TensorFile::from_bytes(bytes).unwrap_err();
        assert_eq!(error.to_string(), "bytes: not a valid safetensors file");
        assert_eq!(opened.to_string(), format!("{}: not a valid safetensors file", path.display()));
        let cause = |error: &Error| error.source().map(ToString::to_string);
        assert!(cause(&error).is_some());
        assert_eq!(cause(&error), cause(&opened));
    }
}

/// `torch.save` writes a ZIP archive, before PyTorch 1.6 it wrote a pickle: the first bytes of both.
#[test]
fn a_file_of_torch_save_is_told_from_one_that_is_broken() {
    let zip = b"PK\x03\x04\x00\x00\x08\x08\x00\x00\x00\x00\x00\x00\x00\x00".as_slice();
    let pickle = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".as_slice();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.pt");
    let advice = "this looks like a file of torch.save: write it with \
                  safetensors.torch.save_file(model.state_dict(), path)";
    for bytes in [zip, pickle] {
        assert_eq!(message(TensorFile::from_bytes(bytes)), format!("bytes: not a valid safetensors file; {advice}"));
        std::fs::write(&path, bytes).unwrap();
        let expected = format!("{}: not a valid safetensors file; {advice}", path.display());
        assert_eq!(message(Lstm::from_safetensors(&path, "")), expected);
        assert_eq!(message(TensorFile::open(&path)), expected);
    }
    // A header of 128 bytes begins with the same byte as a pickle.
    let cut = [&128_u64.to_le_bytes()[..], b"{}"].concat();
    assert_eq!(message(TensorFile::from_bytes(cut)), "bytes: not a valid safetensors file");
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

#[test]
fn names_that_a_file_cannot_hold() {
    let (a, b) = (zeros(&[1]), zeros(&[2]));
    assert_eq!(
        message(TensorFile::serialize(&[("x", &a), ("x", &b)])),
        "tensor x does not fit: two tensors have this name"
    );
    assert_eq!(
        message(TensorFile::serialize(&[("__metadata__", &a)])),
        "tensor __metadata__ does not fit: the format reserves this name"
    );
}

/// Lowers one limit at a time to less than the kernels need.
#[test]
fn every_limit_of_a_device_is_named() {
    if gpu().is_none() {
        return;
    }
    type Lower = fn(&mut wgpu::Limits);
    let cases: [(Lower, &str); 10] = [
        (|l| l.max_bind_groups = 1, "the input product needs 2 of max_bind_groups, the device has 1"),
        (
            |l| l.max_bindings_per_bind_group = 4,
            "the step kernel needs 7 of max_bindings_per_bind_group, the device has 4",
        ),
        (
            |l| l.max_storage_buffers_per_shader_stage = 4,
            "the input product needs 5 of max_storage_buffers_per_shader_stage, the device has 4",
        ),
        (
            |l| l.max_uniform_buffers_per_shader_stage = 1,
            "the step kernel needs 2 of max_uniform_buffers_per_shader_stage, the device has 1",
        ),
        (
            |l| l.max_dynamic_uniform_buffers_per_pipeline_layout = 1,
            "the step kernel needs 2 of max_dynamic_uniform_buffers_per_pipeline_layout, the device has 1",
        ),
        (
            |l| l.max_uniform_buffer_binding_size = 16,
            "the input product needs 112 of max_uniform_buffer_binding_size, the device has 16",
        ),
        (
            |l| l.max_compute_workgroup_size_x = 4,
            "the input product needs 8 of max_compute_workgroup_size_x, the device has 4",
        ),
        (
            |l| l.max_compute_workgroups_per_dimension = 1,
            "the input product needs 2 of max_compute_workgroups_per_dimension, the device has 1",
        ),
        (|l| l.max_buffer_size = 8, "w_ih of layer 0 needs 256 of max_buffer_size, the device has 8"),
        (
            |l| l.max_compute_workgroup_storage_size = 8000,
            "the input product needs 8192 of max_compute_workgroup_storage_size, the device has 8000",
        ),
    ];
    for (lower, expected) in cases {
        let (device, queue) = own_device(lower);
        let lstm = Lstm::random(LstmConfig::new(1, 1).with_bidirectional(true), 0).unwrap();
        let placed = lstm.to(&Device::from_wgpu(device, queue));
        let forward = placed.and_then(|placed| placed.forward(&zeros(&[1, 1]), None).map(drop));
        assert_eq!(message(forward), expected);
    }
}
