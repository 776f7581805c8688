//! The `infer` example as a user runs it: input files, output file, messages and exit status.

use std::path::Path;

use safetensors::{Dtype, tensor::TensorView};
use wgpu_rnn::{
    AnyLayer, Device, GpuOptions, GruConfig, Kind, Layer, LayerKind, Lstm, LstmConfig, LstmState, Nonlinearity,
    RnnConfig, Source, TensorFile,
};

use crate::example_files::{Folder, example, read};
use crate::support::{bits, gpu, state, uniform};

#[test]
fn a_run_writes_the_results_of_the_library() {
    let folder = Folder::new("infer");
    let config = LstmConfig::new(4, 6).with_num_layers(2).with_bidirectional(true);
    let lstm = Lstm::random(config.clone(), 1).unwrap();
    let (x, initial) = (uniform(&[3, 5, 4], 2), state(&config, 5, 3));
    lstm.save_safetensors(folder.path("model"), "encoder.").unwrap();
    let both = [("input", &x), ("h_0", &initial.h), ("c_0", &initial.c)];
    let swapped = LstmState { h: uniform(&[4, 3, 6], 4), c: uniform(&[4, 3, 6], 5) };
    let batch_first = [("input", &x), ("h_0", &swapped.h), ("c_0", &swapped.c)];
    // The example opens its own device, with that device's tiles.
    let own = gpu().map(|_| Device::gpu(&GpuOptions::new()).unwrap());
    for device in [Some(Device::cpu()), own].iter().flatten() {
        let name = if device.is_gpu() { "gpu" } else { "cpu" };
        for (tensors, state, flags) in [
            (&both[..1], None, vec![]),
            (&both[..], Some(&initial), vec!["--prefix", "encoder."]),
            (&batch_first[..], Some(&swapped), vec!["--prefix", "encoder", "--batch-first"]),
        ] {
            folder.save("input", tensors);
            let run = folder.run(&[vec!["--device", name], flags.clone()].concat());
            assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
            let printed = String::from_utf8(run.stdout).unwrap();
            assert!(printed.contains("LSTM(4, 6, num_layers=2"), "{printed}");
            assert!(printed.contains(&format!("device  {device}: ")), "{printed}");

            let placed = lstm.clone().with_batch_first(flags.contains(&"--batch-first")).to(device).unwrap();
            let (output, last) = placed.forward(&x, state).unwrap();
            for (key, expected) in [("output", &output), ("h_n", &last.h), ("c_n", &last.c)] {
                let got = read(&folder.path("output"), key);
                assert_eq!((got.shape(), bits(&got)), (expected.shape(), bits(expected)), "{key} on {device}");
            }
        }
    }
}

/// Saves a layer and runs it with flags that change it, or leave it the same.
fn run_kind<K: Kind>(saved: &Layer<K>, flags: &[&str], layer: Layer<K>, name: &str) {
    let folder = Folder::new("infer");
    saved.save_safetensors(folder.path("model"), "").unwrap();
    let (x, initial) = (uniform(&[3, 5, 4], 2), uniform(&[4, 5, 6], 3));
    folder.save("input", &[("input", &x), ("h_0", &initial)]);
    let run = folder.run(&[&["--device", "cpu"], flags].concat());
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let printed = String::from_utf8(run.stdout).unwrap();
    assert!(printed.contains(name), "{printed}");
    let initial = K::state(vec![initial]).unwrap();
    let (output, last) = layer.to(&Device::cpu()).unwrap().forward(&x, Some(&initial)).unwrap();
    assert_eq!(bits(&read(&folder.path("output"), "output")), bits(&output), "{name}");
    assert_eq!(bits(&read(&folder.path("output"), "h_n")), bits(K::arrays(&last)[0]), "{name}");
    let file = TensorFile::open(folder.path("output")).unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["h_n", "output"], "no c_n of a {name}");

    std::fs::remove_file(folder.path("output")).unwrap();
    folder.save("input", &[("input", &x), ("c_0", &x)]);
    let message = "error: DIR/input.safetensors: has c_0, but the model is no LSTM and has no cell state\n";
    assert_eq!(folder.rejected(&["--device", "cpu"], 1), message);
}

#[test]
fn gru_and_rnn_are_recognised_by_their_weights() {
    let gru = Layer::random(GruConfig::new(4, 6).with_num_layers(2).with_bidirectional(true), 1).unwrap();
    let rnn = Layer::random(RnnConfig::new(4, 6).with_num_layers(2).with_bidirectional(true), 2).unwrap();
    let (of_gru, of_rnn) = ("GRU(4, 6, num_layers=2, bidirectional=true", "RNN(4, 6, num_layers=2, bidirectional=true");
    run_kind(&gru, &[], gru.clone(), &format!("{of_gru})"));
    run_kind(&rnn, &[], rnn.clone(), &format!("{of_rnn})"));

    let relu = rnn.clone().with_nonlinearity(Nonlinearity::Relu);
    let name = format!("{of_rnn}, nonlinearity=relu)");
    run_kind(&rnn, &["--nonlinearity", "relu"], relu.clone(), &name);
    run_kind(&relu, &[], relu.clone(), &name);

    let reset_before = gru.clone().with_reset_after(false);
    let name = format!("{of_gru}, reset_after=false)");
    run_kind(&gru, &["--reset-before"], reset_before.clone(), &name);
    run_kind(&reset_before, &[], reset_before.clone(), &name);
}

#[test]
fn lengths_in_the_input_file_apply_to_its_rows() {
    let folder = Folder::new("infer");
    let lstm = Lstm::random(LstmConfig::new(2, 3).with_bidirectional(true), 1).unwrap();
    lstm.save_safetensors(folder.path("model"), "").unwrap();
    let x = uniform(&[4, 3, 2], 2);
    let write = |lengths: &[i64]| {
        let bytes = |numbers: Vec<[u8; 4]>| numbers.concat();
        let input = bytes(x.data().iter().map(|v| v.to_le_bytes()).collect());
        let lengths_bytes: Vec<u8> = lengths.iter().flat_map(|v| v.to_le_bytes()).collect();
        let views = [
            ("input", TensorView::new(Dtype::F32, x.shape().to_vec(), &input).unwrap()),
            ("lengths", TensorView::new(Dtype::I64, vec![lengths.len()], &lengths_bytes).unwrap()),
        ];
        std::fs::write(folder.path("input"), safetensors::serialize(views, None).unwrap()).unwrap();
    };
    write(&[4, -1, 2]);
    assert_eq!(folder.rejected(&["--device", "cpu"], 1), "error: DIR/input.safetensors: a length is -1, below 0\n");
    write(&[4, 5, 2]);
    assert!(folder.rejected(&["--device", "cpu"], 1).contains("got 5 for row 1, with T = 4"));
    write(&[4, 1, 2]);
    let run = folder.run(&["--device", "cpu"]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let (output, last) = lstm.to(&Device::cpu()).unwrap().request(&x).lengths(&[4, 1, 2]).run().unwrap();
    assert_eq!(bits(&read(&folder.path("output"), "output")), bits(&output));
    assert_eq!(bits(&read(&folder.path("output"), "c_n")), bits(&last.c));
}

#[test]
fn invalid_files_are_rejected() {
    let folder = Folder::new("infer");
    let no_file = folder.rejected(&["--device", "cpu"], 1);
    assert!(no_file.starts_with("error: DIR/model.safetensors: the file could not be read: No such file"), "{no_file}");

    Lstm::random(LstmConfig::new(4, 6), 1).unwrap().save_safetensors(folder.path("model"), "a.").unwrap();
    std::fs::write(folder.path("input"), b"nonsense").unwrap();
    let nonsense = folder.rejected(&["--device", "cpu"], 1);
    assert!(nonsense.starts_with("error: DIR/input.safetensors: not a valid safetensors file"), "{nonsense}");

    folder.save("input", &[("x", &uniform(&[1, 1, 4], 0))]);
    assert_eq!(folder.rejected(&[], 1), "error: DIR/input.safetensors: has no tensor \"input\", only [\"x\"]\n");
    let x = uniform(&[2, 1, 4], 0);
    let h = uniform(&[1, 1, 6], 0);
    folder.save("input", &[("input", &x), ("h_0", &h)]);
    let message = "error: DIR/input.safetensors: has only one of h_0 and c_0; an LSTM takes both or neither\n";
    assert_eq!(folder.rejected(&[], 1), message);
    folder.save("input", &[("input", &x), ("c_0", &h)]);
    assert_eq!(folder.rejected(&[], 1), message);
    assert_eq!(
        folder.rejected(&["--nonlinearity", "relu"], 1),
        "error: --nonlinearity is for an RNN, and the model is none\n"
    );
    let before = folder.rejected(&["--reset-before"], 1);
    assert_eq!(before, "error: --reset-before is for a GRU, and the model is none\n");
    folder.save("input", &[("input", &uniform(&[2, 1, 5], 0))]);
    assert_eq!(
        folder.rejected(&["--device", "cpu"], 1),
        "error: input: expected shape [T, B, I] or unbatched [T, I] with I = 4, got [2, 1, 5]\n"
    );
    folder.save("input", &[("input", &x)]);
    assert_eq!(
        folder.rejected(&["--prefix", "b."], 1),
        "error: DIR/model.safetensors: no recurrent layer under prefix \"b.\" (no tensor b.weight_ih_l0); \
         the file has recurrent layers under [\"a.\"]\n"
    );
}

#[test]
fn the_output_never_replaces_the_model_or_the_input() {
    let folder = Folder::new("infer");
    Lstm::random(LstmConfig::new(4, 6), 1).unwrap().save_safetensors(folder.path("model"), "").unwrap();
    folder.save("input", &[("input", &uniform(&[2, 1, 4], 0))]);
    for name in ["model", "input"] {
        let before = std::fs::read(folder.path(name)).unwrap();
        let mut command = example("infer");
        command.arg("--model").arg(folder.path("model")).arg("--input").arg(folder.path("input"));
        let run = command.arg("--output").arg(folder.path(name)).output().unwrap();
        assert_eq!(String::from_utf8(run.stderr).unwrap(), format!("error: --output and --{name} are the same file\n"));
        assert_eq!((run.status.code(), std::fs::read(folder.path(name)).unwrap()), (Some(1), before));
    }
}

#[test]
fn several_models_need_a_prefix() {
    let folder = Folder::new("infer");
    let tensor = uniform(&[4, 1], 0);
    let names = ["a.weight_ih_l0", "a.weight_hh_l0", "b.weight_ih_l0", "b.weight_hh_l0"];
    folder.save("model", &names.map(|name| (name, &tensor)));
    folder.save("input", &[("input", &uniform(&[2, 1], 0))]);
    let message = "error: DIR/model.safetensors: has several models, name one with --prefix: [\"a.\", \"b.\"]\n";
    assert_eq!(folder.rejected(&["--device", "cpu"], 1), message);
    assert!(folder.run(&["--device", "cpu", "--prefix", "b."]).status.success());
}

#[test]
fn invalid_arguments_are_rejected() {
    let folder = Folder::new("infer");
    assert!(folder.rejected(&["--device", "tpu"], 2).contains("invalid value 'tpu'"));
    assert!(folder.rejected(&["--nonsense"], 2).contains("--nonsense"));
    let both = folder.rejected(&["--device", "cpu", "--adapter", "llvmpipe"], 2);
    assert_eq!(both, "error: --adapter names a GPU adapter and cannot be used with --device cpu\n");
    assert_eq!(example("infer").output().unwrap().status.code(), Some(2));
}

/// Simulates a machine without any driver by pointing the loader at none.
#[cfg(target_os = "linux")]
#[test]
fn without_a_driver_auto_runs_on_the_cpu_and_gpu_reports_the_reason() {
    let folder = Folder::new("infer");
    Lstm::random(LstmConfig::new(4, 6), 1).unwrap().save_safetensors(folder.path("model"), "").unwrap();
    folder.save("input", &[("input", &uniform(&[2, 1, 4], 0))]);
    let run = |device: &str| {
        let mut command = example("infer");
        for name in ["model", "input", "output"] {
            command.arg(format!("--{name}")).arg(folder.path(name));
        }
        for variable in ["VK_ICD_FILENAMES", "VK_DRIVER_FILES"] {
            command.env(variable, "/nonexistent.json");
        }
        command
            .env_remove("WGPU_BACKEND")
            .env_remove("WGPU_ADAPTER_NAME")
            .env("VK_ADD_DRIVER_FILES", "")
            .args(["--device", device])
            .output()
            .unwrap()
    };
    let gpu = run("gpu");
    let message = String::from_utf8(gpu.stderr).unwrap();
    assert_eq!(gpu.status.code(), Some(1));
    assert!(message.contains("none was found; is a GPU driver installed?"), "{message}");
    let auto = run("auto");
    let printed = String::from_utf8(auto.stdout).unwrap();
    assert!(auto.status.success());
    assert!(printed.contains("device  CPU: no GPU adapter"), "{printed}");
    assert!(folder.path("output").exists());
}

/// Layers of other formats: the content of the file tells which.
#[test]
fn layers_of_onnx_are_listed_chosen_and_run() {
    let folder = Folder::new("infer");
    let config = LstmConfig::new(4, 6).with_num_layers(2).with_bidirectional(true).with_reverse(false);
    let lstm = Lstm::random(config, 1).unwrap();
    lstm.save_onnx(folder.path("model")).unwrap();
    let list = example("infer").arg("--list").arg("--model").arg(folder.path("model")).output().unwrap();
    let expected = "lstm_l0: LSTM(4, 6, bidirectional=true)\nlstm_l1: LSTM(12, 6, bidirectional=true)\n\
                    lstm_l0..lstm_l1: LSTM(4, 6, num_layers=2, bidirectional=true)\n";
    assert_eq!(String::from_utf8(list.stdout).unwrap(), expected);

    let x = uniform(&[3, 5, 4], 2);
    folder.save("input", &[("input", &x)]);
    let message = folder.rejected(&["--device", "cpu"], 1);
    let names = r#"["lstm_l0", "lstm_l1", "lstm_l0..lstm_l1"]"#;
    assert!(message.contains(&format!("has several layers, name one with --layer: {names}")), "{message}");
    for (flags, expected) in [
        (&["--layer", "l"][..], "no recurrent layer \"l\""),
        (&["--prefix", "lstm_l0"], "--prefix is for tensors"),
        (&["--layer", "lstm_l0", "--nonlinearity", "relu"], "--nonlinearity is for weights alone"),
        (&["--layer", "lstm_l0", "--kind", "gru"], "--kind says GRU, and DIR/model.safetensors has LSTM"),
    ] {
        let message = folder.rejected(flags, 1);
        assert!(message.contains(expected), "{message}");
    }
    folder.rejected(&["--layer", "lstm_l0", "--prefix", "a"], 2);

    let run = folder.run(&["--device", "cpu", "--layer", "lstm_l0..lstm_l1"]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let (output, _) = lstm.to(&Device::cpu()).unwrap().forward(&x, None).unwrap();
    assert_eq!(bits(&read(&folder.path("output"), "output")), bits(&output));
}

#[test]
fn tensors_are_read_under_other_names() {
    let folder = Folder::new("infer");
    let gru = Layer::random(GruConfig::new(4, 6).with_bias(false), 1).unwrap();
    let (ih, hh) = (gru.layers()[0].weight_ih(), gru.layers()[0].weight_hh());
    folder.save("model", &[("w_ih", ih), ("w_hh", hh), ("b_ih", &uniform(&[18], 3))]);
    let x = uniform(&[3, 5, 4], 2);
    folder.save("input", &[("input", &x), ("h0", &x)]);
    let message = folder.rejected(&["--device", "cpu"], 1);
    assert!(message.contains("its tensors are b_ih, w_hh, w_ih; --rename FROM=TO"), "{message}");
    let renamed = ["--rename", "w_ih=weight_ih_l0", "--rename", "w_hh=weight_hh_l0", "--device", "cpu"];
    let run = folder.run(&renamed);
    let printed = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success());
    assert!(printed.starts_with("note    not part of the layer: b_ih\n"), "{printed}");
    assert!(printed.contains("note    not used of the input: h0\n"), "{printed}");
    let (output, _) = gru.to(&Device::cpu()).unwrap().forward(&x, None).unwrap();
    assert_eq!(bits(&read(&folder.path("output"), "output")), bits(&output));
    assert_eq!(folder.run(&["--rename", "w_ih"]).status.code(), Some(2));
}

/// Weights alone tell neither the kind of every layer nor its activation.
#[test]
fn what_weights_of_keras_do_not_tell_is_an_option() {
    let folder = Folder::new("infer");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keras/k3few.weights.h5");
    std::fs::copy(&model, folder.path("model")).unwrap();
    let source = Source::open(&model).unwrap();
    let rnn = source.layers().into_iter().find(|layer| layer.kind == Some(LayerKind::Rnn)).unwrap();
    let x = uniform(&[3, 2, rnn.input_size.unwrap()], 2);
    folder.save("input", &[("input", &x)]);
    let imported = source.layer(&rnn.name).unwrap().with_batch_first(false);
    let AnyLayer::Rnn(layer) = imported.layer().clone() else { panic!("{rnn}") };
    for nonlinearity in [Nonlinearity::Tanh, Nonlinearity::Relu] {
        let name = format!("{nonlinearity:?}").to_lowercase();
        let run = folder.run(&["--device", "cpu", "--layer", &rnn.name, "--nonlinearity", &name]);
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let placed = layer.clone().with_nonlinearity(nonlinearity).to(&Device::cpu()).unwrap();
        let (output, _) = placed.forward(&x, None).unwrap();
        assert_eq!(bits(&read(&folder.path("output"), "output")), bits(&output));
    }
}

/// The layout of the arrays is an option, whatever the program that saved a module did.
#[test]
fn the_layout_of_a_module_is_told_and_not_taken_over() {
    let folder = Folder::new("infer");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/containers/module_batch_first.pt");
    std::fs::copy(&model, folder.path("model")).unwrap();
    let source = Source::open(&model).unwrap();
    assert_eq!(source.format(), "PyTorch");
    let layer = source.layers().remove(0);
    let x = uniform(&[3, 2, layer.input_size.unwrap()], 2);
    folder.save("input", &[("input", &x)]);
    let AnyLayer::Gru(gru) = source.layer(&layer.name).unwrap().into_layer() else { panic!("{layer}") };
    assert!(gru.config().batch_first());
    for (flags, batch_first) in [(&["--device", "cpu"][..], false), (&["--device", "cpu", "--batch-first"], true)] {
        let run = folder.run(&[flags, &["--prefix", &layer.name]].concat());
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let told = String::from_utf8(run.stdout).unwrap().contains("note    the layout of the model is [B, T, ·]");
        assert_eq!(told, !batch_first);
        let (output, _) =
            gru.clone().with_batch_first(batch_first).to(&Device::cpu()).unwrap().forward(&x, None).unwrap();
        assert_eq!(bits(&read(&folder.path("output"), "output")), bits(&output));
    }
}
