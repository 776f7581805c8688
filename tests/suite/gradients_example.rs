//! The `gradients` example as a user runs it: input files, output file, messages and exit status.

use wgpu_rnn::{Device, GruConfig, Layer, LstmConfig, Tensor, TensorFile};

use crate::example_files::{Folder, read};
use crate::support::{bits, state, uniform};

#[test]
fn a_run_writes_the_gradients_of_the_library() {
    let folder = Folder::new("gradients");
    let lstm = Layer::random(LstmConfig::new(3, 4).with_num_layers(2).with_bidirectional(true), 1).unwrap();
    lstm.save_safetensors(folder.path("model"), "encoder.").unwrap();
    let (x, initial) = (uniform(&[5, 2, 3], 2), state(lstm.config(), 2, 3));
    let (of_output, of_c) = (uniform(&[5, 2, 8], 5), uniform(&[4, 2, 4], 6));
    folder.save(
        "input",
        &[
            ("input", &x),
            ("h_0", &initial.h),
            ("c_0", &initial.c),
            ("grad_output", &of_output),
            // What is absent is zero.
            ("grad_c_n", &of_c),
        ],
    );
    let output = folder.run(&["--device", "cpu"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let placed = lstm.to(&Device::cpu()).unwrap();
    let mut of_state = initial.clone();
    (of_state.h, of_state.c) = (Tensor::zeros([4, 2, 4]).unwrap(), of_c);
    let gradients = placed.forward_train(&x, &initial).unwrap().backward(&of_output, &of_state).unwrap();
    let path = folder.path("output");
    let mut expected = vec![
        ("grad_input".to_owned(), gradients.input()),
        ("grad_h_0".to_owned(), &gradients.initial_state().h),
        ("grad_c_0".to_owned(), &gradients.initial_state().c),
    ];
    expected.extend(gradients.weights().named().unwrap().map(|(name, tensor)| (format!("grad_{name}"), tensor)));
    for (name, tensor) in &expected {
        let got = read(&path, name);
        assert_eq!((got.shape(), bits(&got)), (tensor.shape(), bits(tensor)), "{name}");
    }
    assert_eq!(TensorFile::open(&path).unwrap().names().count(), expected.len());
}

#[test]
fn without_an_initial_state_there_is_no_gradient_of_it() {
    let folder = Folder::new("gradients");
    let gru = Layer::random(GruConfig::new(3, 4), 1).unwrap();
    gru.save_safetensors(folder.path("model"), "").unwrap();
    folder.save("input", &[("input", &uniform(&[5, 3], 2)), ("grad_h_n", &uniform(&[1, 4], 3))]);
    assert!(folder.run(&["--device", "cpu", "--reset-before"]).status.success());
    let file = TensorFile::open(folder.path("output")).unwrap();
    let mut names: Vec<_> = file.names().collect();
    names.sort_unstable();
    let parameters = ["grad_bias_hh_l0", "grad_bias_ih_l0", "grad_input", "grad_weight_hh_l0", "grad_weight_ih_l0"];
    assert_eq!(names, parameters);
}

#[test]
fn invalid_files_are_rejected() {
    let folder = Folder::new("gradients");
    let gru = Layer::random(GruConfig::new(3, 4), 1).unwrap();
    gru.save_safetensors(folder.path("model"), "").unwrap();
    let x = uniform(&[5, 2, 3], 2);
    folder.save("input", &[("input", &x)]);
    assert!(folder.rejected(&[], 1).contains("no gradient to start from, at least one of: grad_output, grad_h_n"));
    folder.save("input", &[("input", &x), ("grad_output", &uniform(&[5, 2, 3], 3))]);
    let message = folder.rejected(&["--device", "cpu"], 1);
    assert!(message.contains("the gradient of the output") && message.contains("[5, 2, 4]"), "{message}");
    folder.save("input", &[("input", &x), ("grad_h_n", &uniform(&[1, 2, 4], 3)), ("grad_c_n", &x)]);
    assert!(folder.rejected(&["--device", "cpu"], 1).contains("grad_c_n, but the model is no LSTM"));
    folder.rejected(&["--device", "cpu", "--adapter", "x"], 2);
}
