//! Every file that holds no fitting model, or is none of safetensors, gets its error, checked by exact message.

use std::error::Error as _;

use safetensors::{Dtype, tensor::TensorView};
use wgpu_rnn::{AnyLayer, ConcatGates, Error, Gru, Lstm, LstmCell, RnnCell, Tensor, TensorFile};

use crate::support::{message, uniform, zeros};

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
    for (bytes, expected) in [
        (
            zip,
            "not a valid safetensors file; this is a ZIP archive that is damaged, or that neither PyTorch, NumPy nor \
             Keras wrote",
        ),
        (pickle, "not a usable PyTorch file: it ends too early"),
    ] {
        assert_eq!(message(TensorFile::from_bytes(bytes)), format!("bytes: {expected}"));
        std::fs::write(&path, bytes).unwrap();
        let expected = format!("{}: {expected}", path.display());
        assert_eq!(message(Lstm::from_safetensors(&path, "")), expected);
        assert_eq!(message(TensorFile::open(&path)), expected);
    }
    // A header of 128 bytes begins with the same byte as a pickle.
    let cut = [&128_u64.to_le_bytes()[..], b"{}"].concat();
    assert_eq!(message(TensorFile::from_bytes(cut)), "bytes: not a valid safetensors file");
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
