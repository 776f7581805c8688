//! Models by the seeded script `make_onnx.py`: hand-made nodes have weights that count up from 0 (W), 100 (R), 200 (B)
//! and 300 (P) in steps of 1/8.

use std::path::{Path, PathBuf};

use safetensors::Dtype;

use super::*;
use crate::activation::Activation;

mod hostile;
mod written;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx").join(name)
}

fn open(name: &str) -> OnnxFile {
    OnnxFile::of(Input::open(&path(&format!("{name}.onnx"))).unwrap()).unwrap()
}

fn values(array: &Array) -> Vec<f64> {
    let each = if array.dtype == Dtype::F64 { 8 } else { 4 };
    let value = |n: &[u8]| match each {
        8 => f64::from_le_bytes(n.try_into().unwrap()),
        _ => f64::from(f32::from_le_bytes(n.try_into().unwrap())),
    };
    array.bytes.chunks_exact(each).map(value).collect()
}

fn counting(array: &Array, start: f64) -> bool {
    values(array).iter().enumerate().all(|(index, &value)| value == start + index as f64 / 8.0)
}

#[test]
fn every_attribute_is_read() {
    let file = open("attributes");
    let [node] = file.nodes() else { panic!() };
    assert_eq!((node.name.as_str(), node.op, node.input_size, node.hidden_size), ("Y", Op::Lstm, Some(3), 2));
    assert_eq!((node.direction, node.layout, node.clip), (Direction::Bidirectional, 0, Some(1.5)));
    assert!(node.input_forget && !node.linear_before_reset && node.problem.is_none(), "{:?}", node.problem);
    let hard = Activation::HardSigmoid { alpha: 0.25, beta: 0.5 };
    let affine = Activation::Affine { alpha: 2.0, beta: 0.7 };
    let first = [Activation::Sigmoid, Activation::LeakyRelu { alpha: 0.3 }, affine];
    assert_eq!(node.activations, [&first[..], &[hard, Activation::Tanh, Activation::Softsign]].concat());
    let given = [node.b, node.p, node.sequence_lens, node.initial_h, node.initial_c];
    assert_eq!(given, [Given::Constant, Given::Constant, Given::Constant, Given::Constant, Given::Input]);
    let loaded = file.load(0).unwrap();
    assert_eq!((loaded.w.shape.as_slice(), loaded.r.shape.as_slice()), (&[2, 8, 3][..], &[2, 8, 2][..]));
    assert!(counting(&loaded.w, 0.0) && counting(&loaded.r, 100.0));
    assert!(counting(&loaded.b.unwrap(), 200.0) && counting(&loaded.p.unwrap(), 300.0));
    assert!(counting(&loaded.initial_h.unwrap(), 400.0) && loaded.initial_c.is_none());
    assert_eq!(loaded.sequence_lens, Some(vec![4]));
}

#[test]
fn layout_1_has_states_with_the_batch_first() {
    let file = open("layout");
    let node = &file.nodes()[0];
    assert_eq!((node.layout, node.direction, node.b), (1, Direction::Reverse, Given::Absent));
    assert_eq!(node.activations, [Activation::Sigmoid, Activation::Tanh]);
    assert_eq!(file.load(0).unwrap().initial_h.unwrap().shape, [5, 1, 2]);
}

#[test]
fn subgraphs_see_the_names_around_them() {
    let file = open("subgraphs");
    let names: Vec<_> = file.nodes().iter().map(|node| (node.name.as_str(), node.op)).collect();
    assert_eq!(names, [("same", Op::Lstm), ("b", Op::Gru), ("same#2", Op::Lstm)]);
    for index in 0..3 {
        let loaded = file.load(index).unwrap();
        assert!(counting(&loaded.w, 0.0) && counting(&loaded.r, 100.0) && counting(&loaded.b.unwrap(), 200.0));
    }
}

#[test]
fn every_call_of_a_function_is_a_node_with_the_attributes_of_the_call() {
    let file = open("function");
    let names: Vec<_> = file.nodes().iter().map(|node| (node.name.as_str(), node.hidden_size)).collect();
    assert_eq!(names, [("in_function", 2), ("in_function#2", 2)]);
    assert!(counting(&file.load(1).unwrap().r, 100.0));
}

#[test]
fn weights_are_folded_with_axes_as_attributes_and_as_inputs() {
    for name in ["folded", "folded_old"] {
        let file = open(name);
        assert_eq!(file.nodes()[0].problem, None, "{name}");
        let loaded = file.load(0).unwrap();
        assert!(counting(&loaded.w, 0.0) && counting(&loaded.r, 100.0) && counting(&loaded.b.unwrap(), 200.0));
        assert_eq!(values(&loaded.initial_h.unwrap()), [0.5; 8]);
        assert!(file.nodes()[0].linear_before_reset);
    }
}

#[test]
fn typed_fields_widen_to_f32_and_one_f64_widens_all() {
    let loaded = open("typed").load(0).unwrap();
    assert!(counting(&loaded.w, 0.0) && counting(&loaded.r, 100.0));
    assert_eq!((loaded.r.dtype, values(&loaded.b.unwrap())), (Dtype::F32, vec![200.0; 4])); // rounded to bf16
    let loaded = open("double").load(0).unwrap();
    assert_eq!([loaded.w.dtype, loaded.r.dtype], [Dtype::F64; 2]);
    assert!(counting(&loaded.w, 0.0) && counting(&loaded.r, 100.0));
}

#[test]
fn external_data_is_read_from_the_folder_and_from_nowhere_else() {
    assert!(counting(&open("external").load(0).unwrap().b.unwrap(), 200.0));
    let model = std::fs::read(path("external.onnx")).unwrap();
    let in_memory = OnnxFile::of(Input::from_bytes(model.clone())).unwrap();
    assert_eq!(in_memory.nodes()[0].problem, None); // listing needs no weights
    assert!(in_memory.load(0).unwrap_err().to_string().contains("open the model by its path"));

    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    std::fs::copy(path("external.data"), folder.path().join("b.data")).unwrap();
    let load = |location: &[u8; 13]| {
        let at = |text: &[u8]| model.windows(13).enumerate().filter(|(_, w)| *w == text).map(|(at, _)| at).collect();
        let (mut changed, places): (Vec<u8>, Vec<usize>) = (model.clone(), at(b"external.data"));
        places.iter().for_each(|&at| changed[at..at + 13].copy_from_slice(location));
        std::fs::write(inside.join("m.onnx"), changed).unwrap();
        OnnxFile::of(Input::open(&inside.join("m.onnx")).unwrap()).unwrap().load(0).map_err(|error| error.to_string())
    };
    assert!(load(b"../../.b.data").unwrap_err().contains("not in the model's folder"));
    assert!(load(b"././../b.data").unwrap_err().contains("not in the model's folder"));
    assert!(load(b"/etc/hostname").unwrap_err().contains("not in the model's folder"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../b.data", inside.join("external.link")).unwrap();
        assert!(load(b"external.link").unwrap_err().contains("leads out of the model's folder"));
    }
    let data = std::fs::read(path("external.data")).unwrap();
    std::fs::write(inside.join("external.data"), &data[..data.len() - 1]).unwrap();
    assert!(load(b"external.data").unwrap_err().contains("bytes are needed"));
    std::fs::write(inside.join("external.data"), &data).unwrap();
    assert!(load(b"external.data").is_ok());
}

#[test]
fn what_cannot_be_read_is_named() {
    let error = |name: &str| {
        let file = open(name);
        assert_eq!(file.nodes().iter().filter(|node| node.problem.is_none()).count(), 0);
        file.load(0).unwrap_err().to_string()
    };
    assert!(error("quantised").contains("com.microsoft.DynamicQuantizeLSTM \"q\" is not supported"));
    assert!(error("loop").contains("Loop \"unrolled\" is not supported"));
    assert!(error("computed").contains("Mul computes it"));
    assert!(error("no_alpha").contains("activation ThresholdedRelu has no activation_alpha"));
    assert!(error("torch_projected").contains("a projection of 4 units to 2"));
}

/// What the graph repeats for every row is a constant; what may differ from row to row is none, and zeros are nothing.
#[test]
fn states_are_constants_where_the_graph_leaves_no_doubt() {
    let file = open("states");
    let given: Vec<_> = file.nodes().iter().map(|node| (node.name.as_str(), node.initial_h)).collect();
    let (constant, absent, computed) = (Given::Constant, Given::Absent, Given::Computed);
    let expected = [("repeated", constant), ("tiled", constant), ("zeros", absent)];
    let others = ["mixed", "cut", "looked_up"].map(|name| (name, computed));
    assert_eq!(given, [&expected[..], &others].concat());
    for index in [0, 1] {
        let state = file.load(index).unwrap().initial_h.unwrap();
        assert_eq!((state.shape.as_slice(), values(&state)), (&[1, 1, 2][..], vec![5.0, 6.0]));
    }
}

#[test]
fn stacks_keep_steps_and_rows() {
    let file = open("joined");
    let name = |index: &usize| file.nodes()[*index].name.as_str();
    let stacks = file.stacks();
    let deep: Vec<_> = stacks.iter().filter(|stack| stack.len() > 1).map(|stack| name(&stack[0])).collect();
    assert_eq!(deep, ["of_sizes", "fixed"]);
}

/// A state that the graph repeats for every row of a batch is that of one row.
#[test]
fn learned_states_are_constants() {
    let file = open("torch_learned_state");
    assert_eq!(file.stacks(), [[0, 1]]);
    for (index, expected) in [[1.0, 2.0], [3.0, 4.0]].into_iter().enumerate() {
        assert_eq!(file.nodes()[index].initial_h, Given::Constant);
        let state = file.load(index).unwrap().initial_h.unwrap();
        assert_eq!((state.shape.as_slice(), values(&state)), (&[1, 1, 2][..], expected.to_vec()));
    }
}

#[test]
fn pytorch_s_exports_form_stacks() {
    for name in ["torch_lstm", "torch_lstm_script", "torch_gru", "torch_gru_script"] {
        let file = open(name);
        assert_eq!(file.stacks(), [[0, 1]], "{name}");
        assert_eq!(file.nodes()[1].problem, None);
        // Zeros, expanded to the batch.
        assert_eq!(file.nodes()[1].initial_h, Given::Absent);
        assert!(file.load(0).is_ok() && file.load(1).is_ok());
    }
    assert_eq!(open("subgraphs").stacks(), [[0], [1], [2]]);
}

#[test]
fn initialisers_are_a_bag_of_tensors() {
    let file = open("torch_cell");
    assert!(file.no_nodes().unwrap().to_string().contains("no LSTM, GRU or RNN operator"));
    let entries = file.initialisers();
    assert_eq!(entries["weight_ih"], Entry { dtype: Some(Dtype::F32), shape: vec![8, 3] }, "{entries:?}");
    assert_eq!(file.read_initialiser("weight_hh").unwrap().unwrap().shape, [8, 2]);
    assert_eq!(file.read_initialiser("other").unwrap(), None);
}

#[test]
fn alpha_and_beta_go_to_the_activations_that_take_one() {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let resolve = |n: &[&str], alphas: &[f32]| activations::activations(&["Tanh"], 2, &names(n), alphas, &[]);
    let leaky = |alpha| Activation::LeakyRelu { alpha };
    assert_eq!(resolve(&["Tanh", "LeakyRelu"], &[0.3]), Ok(vec![Activation::Tanh, leaky(0.3)]));
    assert_eq!(resolve(&["leakyrelu", "LEAKYRELU"], &[0.3]), Ok(vec![leaky(0.3), leaky(0.01)]));
    assert!(resolve(&["Tanh", "Swish"], &[]).is_err());
    assert!(resolve(&["Tanh", "Tanh", "Tanh"], &[]).is_err());
    assert_eq!(activations::activations(&["Tanh"], 1, &names(&["Relu", "Tanh"]), &[], &[]), Ok(vec![Activation::Relu]));
}
