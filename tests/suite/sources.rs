//! Layers out of ONNX models and files of Keras, with the numbers of the programs that wrote them.

use std::path::{Path, PathBuf};

use wgpu_rnn::{
    Activation, AnyLayer, Device, Gru, GruConfig, Imported, Kind, Layer, LayerKind, Lstm, LstmConfig, Merge, Real, Rnn,
    RnnConfig, Source, Tensor, TensorFile,
};

use crate::support::{bits, message, on_both, uniform};

fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder)
}

/// Runs a layer of any kind on a device over `input`, `h_0`, `c_0` and `lengths` of a file. Returns `output`, and the
/// last states.
fn run<F: Real>(imported: &Imported<F>, file: &TensorFile, device: &Device) -> Vec<Tensor<F>> {
    fn of_kind<K: Kind, F: Real>(
        layer: &Layer<K, F>,
        imported: &Imported<F>,
        file: &TensorFile,
        device: &Device,
    ) -> Vec<Tensor<F>> {
        let input: Tensor<F> = file.tensor("input").unwrap().unwrap();
        let read = |name: &str| file.tensor::<F>(name).unwrap();
        let given: Vec<_> = ["h_0", "c_0"].into_iter().filter_map(read).collect();
        let given = if given.is_empty() { imported.initial_state().unwrap_or_default().to_vec() } else { given };
        let state = (!given.is_empty()).then(|| K::state(given).unwrap());
        let lengths = file.integers("lengths").unwrap();
        let lengths: Option<Vec<usize>> = lengths.map(|all| all.into_iter().map(|n| n as usize).collect());
        let lengths = lengths.or(imported.lengths().map(<[usize]>::to_vec));
        let placed = layer.to(device).unwrap();
        let mut request = placed.request(&input).state(state.as_ref());
        if let Some(lengths) = &lengths {
            request = request.lengths(lengths);
        }
        let (output, last) = request.run().unwrap();
        let states = K::arrays(&last).into_iter().cloned();
        std::iter::once(imported.finish(&output).unwrap()).chain(states).collect()
    }
    match imported.layer() {
        AnyLayer::Lstm(layer) => of_kind(layer, imported, file, device),
        AnyLayer::Gru(layer) => of_kind(layer, imported, file, device),
        AnyLayer::Rnn(layer) => of_kind(layer, imported, file, device),
        other => panic!("{other}"),
    }
}

fn compare<F: Real>(what: &str, got: &Tensor<F>, expected: &Tensor, tolerance: f64) {
    assert_eq!(got.shape(), expected.shape(), "{what}");
    for (at, (got, &expected)) in got.data().iter().zip(expected.data()).enumerate() {
        let (got, expected) = (got.to_f64(), f64::from(expected));
        assert!((got - expected).abs() <= tolerance * expected.abs().max(1.0), "{what}, {at}: {got} {expected}");
    }
}

/// The backend tests of the onnx package, the configurations of ONNX Runtime's own tests by their names, and operators
/// with attributes drawn at random, with the numbers of ONNX Runtime: on the CPU in f64 and f32, and on the GPU.
#[test]
fn onnx_operators_give_the_numbers_of_onnx_runtime() {
    let mut count = 0;
    for entry in std::fs::read_dir(fixtures("onnx/golden")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "onnx") {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let file = TensorFile::open(path.with_extension("safetensors")).unwrap();
        let source = Source::open(&path).unwrap();
        let layers = source.layers();
        assert_eq!(layers.len(), 1, "{name}: {source:?}");
        let layer = &layers[0];
        // Both sides round every sum of I + H + 4 terms, and those of later steps add up.
        let steps = file.shape("input").unwrap()[0];
        let terms = layer.input_size.unwrap() + layer.hidden_size.unwrap() + 8;
        let tolerance = (2 * terms * steps) as f64 * f64::from(f32::EPSILON);
        let check = |device: &Device, results: Vec<Tensor>| {
            for (key, got) in ["output", "h_n", "c_n"].into_iter().zip(&results) {
                let Some(expected) = file.tensor(key).unwrap() else { continue };
                compare(&format!("{name}, {layer}, {device}, {key}"), got, &expected, tolerance);
            }
        };
        on_both(|device| {
            let imported = source.layer(&layer.name).unwrap().with_batch_first(false);
            check(device, run(&imported, &file, device));
        });
        let in_f64 = source.layer_as::<f64>(&layer.name).unwrap().with_batch_first(false);
        let results = run(&in_f64, &file, &Device::cpu());
        check(&Device::cpu(), results.iter().map(|tensor| tensor.cast().unwrap()).collect());
        count += 1;
    }
    assert_eq!(count, 85);
}

/// Models of Keras 1 to 3 with every option, with Keras's outputs.
#[test]
fn layers_of_keras_give_kerass_numbers() {
    let mut count = 0;
    for (model, expected) in [
        ("k3.keras", "k3"),
        ("k3few.h5", "k3few"),
        ("k3nested.keras", "k3nested"),
        ("tf2.keras", "tf2"),
        ("tf2few.h5", "tf2few"),
        ("tf2nested.h5", "tf2nested"),
        ("cudnn.h5", "cudnn"),
        ("keras1.h5", "keras1"),
        ("keras20.h5", "keras20"),
    ] {
        let file = TensorFile::open(fixtures("keras").join(expected).with_extension("safetensors")).unwrap();
        let source = Source::open(fixtures("keras").join(model)).unwrap();
        for layer in source.layers() {
            let keys = [format!("output/{}", layer.name), "output".to_owned()];
            let Some(expected) = keys.iter().find_map(|key| file.tensor::<f32>(key).unwrap()) else { continue };
            let Ok(imported) = source.layer(&layer.name) else { continue };
            let own_input = file.shape(&format!("input/{}", layer.name)).map(<[usize]>::to_vec);
            let input = own_input.as_deref().or(file.shape("input"));
            if input.and_then(|shape| shape.last()) != Some(&imported.layer().input_size()) {
                continue;
            }
            on_both(|device| {
                let results = run(&imported, &file, device);
                compare(&format!("{model}, {layer}, {device}"), &results[0], &expected, 2e-5);
            });
            count += 1;
        }
    }
    assert!(count > 40, "{count}");
}

#[test]
fn what_is_saved_as_onnx_is_read_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    fn check<K: Kind>(layer: &Layer<K>, path: &Path, name: &str) {
        layer.save_onnx(path).unwrap();
        let imported = Source::open(path).unwrap().layer(name).unwrap();
        assert_eq!(imported.layer().layers(), layer.layers());
        assert_eq!(
            imported.layer().to_string(),
            layer.to_string().replace(", batch_first=true", "").replace(", dropout=0.5", "")
        );
    }
    let lstm = LstmConfig::new(3, 4).with_num_layers(2).with_bidirectional(true).with_dropout(0.5);
    check(&Lstm::random(lstm.with_batch_first(true), 1).unwrap(), &path, "lstm_l0..lstm_l1");
    let gates = Activation::HardSigmoid { alpha: 0.2, beta: 0.5 };
    let form = LstmConfig::new(3, 4).with_activations([gates, Activation::Softsign, Activation::Elu { alpha: 0.5 }]);
    let form = form.with_peepholes(true).with_input_forget(true).with_clip(1.5).with_reverse(true);
    check(&Lstm::random(form, 1).unwrap(), &path, "lstm_l0");
    check(&Gru::random(GruConfig::new(3, 4).with_reset_after(false), 1).unwrap(), &path, "gru_l0");
    check(&Gru::random(GruConfig::new(3, 4).with_bias(false), 1).unwrap(), &path, "gru_l0");
    let relu = RnnConfig::new(3, 4).with_nonlinearity(wgpu_rnn::Nonlinearity::Relu).with_num_layers(3);
    check(&Rnn::random(relu.with_bidirectional(true), 1).unwrap(), &path, "rnn_l0..rnn_l2");
    let projected = Lstm::random(LstmConfig::new(3, 4).with_proj_size(2), 1).unwrap();
    assert!(message(projected.save_onnx(&path)).contains("its operators have no projection"));
}

#[test]
fn what_pytorch_exports_is_one_deep_layer() {
    for name in ["torch_lstm", "torch_lstm_script", "torch_gru", "torch_learned_state"] {
        let source = Source::open(fixtures("onnx").join(name).with_extension("onnx")).unwrap();
        let deep = source.layers().into_iter().find(|layer| layer.num_layers > 1);
        let deep = deep.unwrap_or_else(|| panic!("{source:?}"));
        let imported = source.layer(&deep.name).unwrap();
        assert_eq!(imported.layer().num_layers(), deep.num_layers);
        let first = source.layer(deep.name.split("..").next().unwrap()).unwrap();
        assert_eq!(first.layer().layers(), &imported.layer().layers()[..deep.directions]);
    }
    // The positions of gates are left to be computed.
    let unoptimised = Source::open(fixtures("onnx").join("torch_unoptimised.onnx")).unwrap();
    assert!(unoptimised.layer(&unoptimised.layers()[0].name).is_ok(), "{unoptimised:?}");
    // A cell is no node, but its parameters are there.
    let cell = Source::open(fixtures("onnx").join("torch_cell.onnx")).unwrap();
    assert!(!cell.tensors().unwrap().cell_prefixes().is_empty());
}

#[test]
fn other_files_are_errors_that_name_them() {
    let open = |folder: &str, name: &str| message(Source::open(fixtures(folder).join(name)));
    assert!(open("onnx", "quantised.onnx").contains("DynamicQuantizeLSTM"));
    assert!(open("onnx", "loop.onnx").contains("Loop"));
    assert!(open("containers", "torchscript.pt").contains("TorchScript"));
    assert!(open("keras", "convlstm.keras").contains("ConvLSTM1D"));
    let projected = Source::open(fixtures("onnx").join("torch_projected.onnx")).unwrap();
    assert!(message(projected.layer(&projected.layers()[0].name)).contains("proj"), "{projected:?}");
    for (bytes, expected) in [
        (&b"GGUF\x03\0\0\0\0\0\0\0"[..], "bytes, a GGUF file, is not supported"),
        (b"\x1c\0\0\0TFL3\0\0\0\0\0\0\0\0", "bytes, a TensorFlow Lite model, is not supported"),
        // Its specification's version, and a neural network, which is field 500.
        (b"\x08\x04\xa2\x1f\x02\x08\x01", "bytes, a CoreML model, is not supported"),
        (b"\x08\x0a", "bytes: not a usable ONNX file: there is no graph in it"),
        (b"", "bytes is not supported: the file is empty"),
        (b"weights of a model", "bytes is not supported: it begins with text, as no model does"),
    ] {
        let error = message(Source::from_bytes(bytes));
        assert!(error.starts_with(expected), "{error}");
    }
    let quantised = Source::open(fixtures("containers").join("quantised_layer.pt")).unwrap();
    assert!(quantised.layers().is_empty());
    assert!(message(quantised.layer("")).contains("such as the weights of a quantised layer"));
    let source = Source::open(fixtures("keras").join("k3few.h5")).unwrap();
    let names: Vec<_> = source.layers().into_iter().map(|layer| layer.name).collect();
    assert_eq!(message(source.layer("absent")), format!("no recurrent layer \"absent\"; the file has {names:?}"));
    assert!(source.with_kind(LayerKind::Gru).layers().iter().all(|layer| layer.kind.is_some()));
    let gru = Source::open(fixtures("onnx").join("torch_gru.onnx")).unwrap();
    let name = gru.layers()[0].name.clone();
    assert!(gru.layer(&name).is_ok());
    let error = message(gru.with_kind(LayerKind::Lstm).layer(&name));
    assert_eq!(error, "kind: expected the kind of the layer in the file, got LSTM");
}

/// What PyTorch's layers lack is in the metadata, and in the list.
#[test]
fn forms_that_a_file_records_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let config = LstmConfig::new(3, 4).with_activations([Activation::Softsign, Activation::Tanh, Activation::Tanh]);
    let lstm = Lstm::random(config.with_clip(0.5).with_peepholes(true).with_reverse(true), 1).unwrap();
    lstm.save_safetensors(&path, "").unwrap();
    let layer = Source::open(&path).unwrap().layers().remove(0);
    assert!(layer.weights_only);
    assert_eq!(layer.to_string(), format!("\"\": {lstm}, F32"));
}

/// A state that was learned, which the graph repeats for every row of the batch.
#[test]
fn learned_initial_states_of_onnx_are_of_one_row() {
    let source = Source::open(fixtures("onnx").join("torch_learned_state.onnx")).unwrap();
    let deep = source.layers().remove(2);
    assert_eq!(deep.notes, ["initial_h given by the file"]);
    let imported = source.layer(&deep.name).unwrap();
    let [h_0] = imported.initial_state().unwrap() else { panic!("a GRU has one state") };
    assert_eq!((h_0.shape(), h_0.data()), (&[2, 1, 2][..], &[1.0, 2.0, 3.0, 4.0][..]));
}

/// A bag of tensors is a source, too.
#[test]
fn tensors_by_pytorchs_names_are_layers() {
    let gru = Gru::random(GruConfig::new(3, 4), 1).unwrap();
    let named: Vec<_> = gru.named().map(|(name, tensor)| (format!("a.{name}"), tensor)).collect();
    let source = Source::from_bytes(TensorFile::serialize(&named).unwrap()).unwrap();
    assert_eq!(format!("{}", source.layers()[0]), "a.: GRU(3, 4), F32");
    let imported = source.layer("a.").unwrap();
    assert_eq!(imported.layer().layers(), gru.layers());
    assert_eq!(source.layer("a").unwrap().layer().layers(), gru.layers());
    assert_eq!((imported.merge(), imported.go_backwards(), imported.initial_state()), (Merge::Concat, false, None));
    let output = uniform(&[5, 2, 4], 1);
    assert_eq!(bits(&imported.finish(&output).unwrap()), bits(&output));
    assert!(message(imported.finish(&uniform(&[5, 2, 3], 1))).starts_with("output: expected shape […, 4]"));
}
