//! Single cells, one step per call.

use std::path::PathBuf;

use wgpu_rnn::{
    Cell, CellConfig, Config, Device, GruCell, GruCellConfig, GruConfig, GruKind, Kind, Layer, LstmCell,
    LstmCellConfig, LstmConfig, LstmKind, LstmState, Nonlinearity, PlacedCell, Real, RnnCell, RnnCellConfig, RnnConfig,
    RnnKind, Tensor, TensorFile,
};

use crate::compare::{Tolerance, compare};
use crate::support::{bits, on_both, slice, uniform};

/// The steps of `x`: `[T, B, I]` in pieces of `[B, I]`, or `[T, I]` in pieces of `[I]`.
fn steps<F: Real>(x: &Tensor<F>) -> Vec<Tensor<F>> {
    let step = |t: usize| Tensor::new(&x.shape()[1..], slice(x, 0, t..t + 1).into_data()).unwrap();
    (0..x.shape()[0]).map(step).collect()
}

fn h_of<K: Kind, F: Real>(state: &K::State<F>) -> &Tensor<F> {
    K::arrays(state)[0]
}

/// The golden file's steps, between arrays of the host and with the state on the device.
fn check_golden<K: Kind, F: Real>(name: &str, cell: &PlacedCell<K, F>, file: &TensorFile) {
    let tensor = |name: &str| file.tensor::<F>(name).unwrap();
    let tolerance = |name| file.tensor::<f64>(name).unwrap().unwrap().data()[0];
    let tolerance = tolerance(if F::NAME == "f64" { "tolerance_f64" } else { "tolerance_f32" });
    let tolerance = Tolerance::both(tolerance);
    let states = |suffix: &str| ["h", "c"].iter().filter_map(|s| tensor(&format!("{s}_{suffix}"))).collect::<Vec<_>>();
    let expected = steps(&tensor("output").unwrap());
    let mut state = K::state(states("0")).unwrap();
    let mut resident = cell.state_from(&state).run().unwrap();
    for (x_t, expected) in steps(&tensor("input").unwrap()).iter().zip(&expected) {
        state = cell.forward(x_t, Some(&state)).unwrap();
        cell.step(x_t, &mut resident).unwrap();
        assert_eq!(h_of::<K, F>(&state).shape(), expected.shape(), "{name}");
        compare(name, h_of::<K, F>(&state).data(), expected.data(), tolerance).unwrap();
        // The same step, whether the state went to the host in between or not.
        assert_eq!(resident.read().run().unwrap(), state, "{name}");
    }
    for (got, expected) in K::arrays(&state).into_iter().zip(states("n")) {
        compare(name, got.data(), expected.data(), tolerance).unwrap();
    }
}

fn check_file<K: Kind>(name: &str, finish: impl Fn(Cell<K>, bool) -> Cell<K>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/cells/{name}.safetensors"));
    let file = TensorFile::open(&path).unwrap();
    assert_eq!(file.cell_prefixes(), ["cell."]);
    let relu = file.tensor::<f64>("relu").unwrap().is_some_and(|relu| relu.data()[0] == 1.0);
    let cell = finish(Cell::from_safetensors(&path, "cell.").unwrap(), relu);
    on_both(|device| check_golden(&format!("{name} on {device}"), &cell.to(device).unwrap(), &file));
    check_golden(&format!("{name} in f64"), &cell.cast::<f64>().unwrap().to(&Device::cpu()).unwrap(), &file);
}

#[test]
fn cells_chained_by_hand_give_the_numbers_of_pytorch() {
    for name in ["lstm", "lstm_unbatched"] {
        check_file::<LstmKind>(name, |cell, _| cell);
    }
    for name in ["gru", "gru_unbatched"] {
        check_file::<GruKind>(name, |cell, _| cell);
    }
    for name in ["gru_reset_before", "gru_reset_before_unbatched"] {
        // The file records which GRU it is.
        check_file::<GruKind>(name, |cell, _| {
            assert!(!cell.config().reset_after());
            cell
        });
    }
    for name in ["rnn_tanh", "rnn_relu"] {
        let nonlinearity = |relu| if relu { Nonlinearity::Relu } else { Nonlinearity::Tanh };
        check_file::<RnnKind>(name, |cell, relu| cell.with_nonlinearity(nonlinearity(relu)));
    }
}

/// Bit for bit, as the layer's recurrence is the cell's.
fn check_layer<K: Kind>(device: &Device, batch: usize, config: Config<K>, cell: CellConfig<K>) {
    let layer = Layer::random(config, 1).unwrap();
    let cell = Cell::new(cell, layer.layers()[0].clone()).unwrap();
    let x = uniform(&[70, batch, 5], 2);
    let (output, last) = layer.to(device).unwrap().forward(&x, None).unwrap();
    let cell = cell.to(device).unwrap();
    let mut state = cell.zero_state(batch).run().unwrap();
    let mut host = None;
    for (t, x_t) in steps(&x).iter().enumerate() {
        pollster::block_on(cell.request_step(x_t, &mut state)).unwrap();
        if t < 3 {
            host = Some(cell.forward(x_t, host.as_ref()).unwrap());
            let expected = bits(&slice(&output, 0, t..t + 1));
            assert_eq!(bits(h_of::<K, f32>(host.as_ref().unwrap())), expected, "{device}");
            assert_eq!(bits(h_of::<K, f32>(&state.read().run().unwrap())), expected, "{device}");
        }
    }
    let state = pollster::block_on(state.read()).unwrap();
    for (got, expected) in K::arrays(&state).into_iter().zip(K::arrays(&last)) {
        assert_eq!((got.shape(), bits(got)), (&[batch, 21][..], bits(expected)), "{device}");
    }
}

#[test]
fn a_cell_over_all_steps_is_the_layer() {
    on_both(|device| {
        for batch in [1, 4, 17] {
            check_layer(device, batch, LstmConfig::new(5, 21), LstmCellConfig::new(5, 21));
            let (gru, cell) = (GruConfig::new(5, 21), GruCellConfig::new(5, 21));
            check_layer(device, batch, gru.clone().with_reset_after(false), cell.clone().with_reset_after(false));
            check_layer(device, batch, gru, cell);
            let (rnn, cell) = (RnnConfig::new(5, 21), RnnCellConfig::new(5, 21));
            check_layer(device, batch, rnn.with_bias(false), cell.with_bias(false));
        }
    });
}

/// Each state is its own, however many a cell has.
#[test]
fn states_of_one_cell_do_not_know_each_other() {
    on_both(|device| {
        let cell = GruCell::random(GruCellConfig::new(3, 8), 1).unwrap().to(device).unwrap();
        let x = steps(&uniform(&[6, 2, 3], 2));
        let mut alone = cell.zero_state(2).run().unwrap();
        x.iter().for_each(|x_t| cell.step(x_t, &mut alone).unwrap());
        let (mut one, mut other) = (cell.zero_state(2).run().unwrap(), cell.zero_state(2).run().unwrap());
        for (x_t, backwards) in x.iter().zip(x.iter().rev()) {
            cell.step(x_t, &mut one).unwrap();
            cell.step(backwards, &mut other).unwrap();
        }
        assert_eq!(one.read().run().unwrap(), alone.read().run().unwrap(), "{device}");
        assert_ne!(other.read().run().unwrap(), alone.read().run().unwrap(), "{device}");
        // A state outlives its cell.
        drop(cell);
        assert_eq!(one.read().run().unwrap(), alone.read().run().unwrap(), "{device}");
    });
}

#[test]
fn a_batch_of_no_rows_steps() {
    on_both(|device| {
        let cell = LstmCell::random(LstmCellConfig::new(3, 8), 1).unwrap().to(device).unwrap();
        let none = Tensor::zeros([0, 3]).unwrap();
        let state = cell.forward(&none, None).unwrap();
        assert_eq!((state.h.shape(), state.c.shape()), (&[0, 8][..], &[0, 8][..]));
        let mut state = cell.state_from(&state).run().unwrap();
        cell.step(&none, &mut state).unwrap();
        assert_eq!(state.read().run().unwrap().h.shape(), [0, 8]);
    });
}

#[test]
fn a_cell_is_read_back_as_it_was_saved() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cell.safetensors");
    for bias in [true, false] {
        let cell = RnnCell::random(RnnCellConfig::new(3, 4).with_bias(bias), 1).unwrap();
        cell.save_safetensors(&path, "a.b.").unwrap();
        assert_eq!(RnnCell::from_safetensors(&path, "a.b.").unwrap(), cell);
        let names: Vec<String> = TensorFile::open(&path).unwrap().names().map(str::to_owned).collect();
        let expected =
            if bias { &["bias_hh", "bias_ih", "weight_hh", "weight_ih"][..] } else { &["weight_hh", "weight_ih"] };
        assert_eq!(names, expected.iter().map(|name| format!("a.b.{name}")).collect::<Vec<_>>());
    }
}

#[test]
fn what_cells_refuse() {
    let message = |result: wgpu_rnn::Result<LstmState>| result.unwrap_err().to_string();
    let zeros = |shape: &[usize]| Tensor::<f32>::zeros(shape).unwrap();
    let state = |h: &[usize], c: &[usize]| LstmState { h: zeros(h), c: zeros(c) };
    on_both(|device| {
        let cell = LstmCell::random(LstmCellConfig::new(3, 8), 1).unwrap().to(device).unwrap();
        let input = "input: expected shape [B, I] or unbatched [I] with I = 3, got ";
        for bad in [&[2, 4][..], &[4], &[], &[1, 2, 3]] {
            assert_eq!(message(cell.forward(&zeros(bad), None)), format!("{input}{bad:?}"));
        }
        // The error names what is inconsistent: h, c, or the input.
        assert_eq!(
            message(cell.forward(&zeros(&[2, 3]), Some(&state(&[3, 8], &[2, 8])))),
            "h_0: expected shape [2, 8] ([B, H], as the input is [B, I]), got [3, 8]"
        );
        assert_eq!(
            message(cell.forward(&zeros(&[2, 3]), Some(&state(&[2, 8], &[2, 7])))),
            "c_0: expected shape [2, 8] ([B, H], as the input is [B, I]), got [2, 7]"
        );
        assert_eq!(
            message(cell.forward(&zeros(&[3]), Some(&state(&[1, 8], &[1, 8])))),
            "h_0: expected shape [8] ([H], as the input is [I]), got [1, 8]"
        );
        assert_eq!(
            cell.state_from(&state(&[2, 8], &[3, 8])).run().unwrap_err().to_string(),
            "c_0: expected shape [2, 8] ([B, H]), got [3, 8]"
        );
        assert_eq!(
            cell.state_from(&state(&[1, 2, 8], &[1, 2, 8])).run().unwrap_err().to_string(),
            "h_0: expected shape [8] ([H], or [B, H] of a batch), got [1, 2, 8]"
        );
        let mut two = cell.zero_state(2).run().unwrap();
        assert_eq!(
            cell.step(&zeros(&[3, 3]), &mut two).unwrap_err().to_string(),
            "input: expected shape [2, 3] ([B, I], as the state is [B, H]), got [3, 3]"
        );
        let mut unbatched = cell.zero_state(None).run().unwrap();
        assert_eq!(
            cell.step(&zeros(&[1, 3]), &mut unbatched).unwrap_err().to_string(),
            "input: expected shape [3] ([I], as the state is [H]), got [1, 3]"
        );
        let twin = LstmCell::random(LstmCellConfig::new(3, 8), 1).unwrap().to(device).unwrap();
        assert_eq!(
            twin.step(&zeros(&[2, 3]), &mut two).unwrap_err().to_string(),
            "state: expected a state that this cell has made, got one of another cell"
        );
    });
    for (config, expected) in [
        (LstmCellConfig::new(0, 1), "input_size: expected a size > 0, got 0"),
        (LstmCellConfig::new(1, 0), "hidden_size: expected a size > 0, got 0"),
    ] {
        assert_eq!(LstmCell::random(config, 0).unwrap_err().to_string(), expected);
    }
}

#[test]
fn files_without_a_fitting_cell() {
    let load = |tensors: &[(&str, &[usize])]| {
        let zeros: Vec<_> = tensors.iter().map(|(name, s)| (*name, Tensor::<f32>::zeros(*s).unwrap())).collect();
        let named: Vec<_> = zeros.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let file = TensorFile::from_bytes(TensorFile::serialize(&named).unwrap()).unwrap();
        LstmCell::<f32>::from_tensor_file(&file, "p.").unwrap_err().to_string()
    };
    let (ih, hh) = (("p.weight_ih", &[8, 3][..]), ("p.weight_hh", &[8, 2][..]));
    for (tensors, expected) in [
        (
            &[("q.weight_ih", &[8, 3][..])][..],
            "no recurrent cell under prefix \"p.\" (no tensor p.weight_ih); \
             the file has recurrent cells under [\"q.\"]",
        ),
        (
            &[("p.weight_ih_l0", &[8, 3])],
            "no recurrent cell under prefix \"p.\" (no tensor p.weight_ih); \
             the file has no tensor named like a recurrent cell's; it has layers under [\"p.\"]",
        ),
        (&[ih], "tensor p.weight_hh is missing: p.weight_ih exists"),
        (&[ih, hh, ("p.weight_hr", &[1, 2])], "tensor p.weight_hr does not fit: a cell has no projection"),
        (
            &[ih, hh, ("p.bias_hh", &[8])],
            "tensor p.bias_ih is missing: the other names under \"p.\" describe LSTMCell(3, 2)",
        ),
        (
            &[ih, hh, ("p.bias_ih", &[8])],
            "tensor p.bias_hh is missing: the other names under \"p.\" describe LSTMCell(3, 2)",
        ),
        (&[ih, hh, ("p.bias_ih", &[8]), ("p.bias_hh", &[7])], "tensor p.bias_hh: expected shape [8], got [7]"),
        (&[("p.weight_ih", &[8]), hh], "tensor p.weight_ih: expected shape two dimensions, got [8]"),
        (&[("p.weight_ih", &[9, 3]), hh], "tensor p.weight_ih: expected shape [8, I], got [9, 3]"),
        (
            &[("p.weight_ih", &[6, 3]), ("p.weight_hh", &[6, 2])],
            "tensor p.weight_hh: expected shape [4·H, H] of the LSTM (3·H rows are a GRU's), got [6, 2]",
        ),
    ] {
        assert_eq!(load(tensors), expected);
    }
}
