//! Written models, read again.

use super::*;
use crate::formats::onnx::write::{NodeToWrite, write};

fn array(start: f32, shape: &[usize]) -> Array {
    let count: usize = shape.iter().product();
    let bytes = (0..count).flat_map(|index| (start + index as f32 / 8.0).to_le_bytes()).collect();
    Array { dtype: Dtype::F32, shape: shape.to_vec(), bytes }
}

fn layers(op: &'static str, direction: Direction) -> Vec<NodeToWrite> {
    let (g, d) = (Op::named(op).unwrap().gates(), direction.count());
    let layer = |index: usize| {
        let input_size = if index == 0 { 3 } else { 2 * d };
        NodeToWrite {
            name: format!("layer {index}"),
            op,
            input_size,
            hidden_size: 2,
            direction,
            activations: vec![],
            clip: None,
            input_forget: false,
            linear_before_reset: op == "GRU",
            w: array(0.0, &[d, g * 2, input_size]),
            r: array(100.0, &[d, g * 2, 2]),
            b: Some(array(200.0, &[d, 4 * g])),
            p: (op == "LSTM").then(|| array(300.0, &[d, 6])),
        }
    };
    vec![layer(0), layer(1)]
}

#[test]
fn a_written_model_is_read_as_it_was() {
    for op in ["LSTM", "GRU", "RNN"] {
        for direction in [Direction::Forward, Direction::Reverse, Direction::Bidirectional] {
            for batch_first in [false, true] {
                let nodes = layers(op, direction);
                let bytes = write(&nodes, batch_first).unwrap();
                let file = OnnxFile::of(Input::from_bytes(bytes)).unwrap();
                assert_eq!(file.stacks(), [[0, 1]]);
                for (index, written) in nodes.iter().enumerate() {
                    let (node, loaded) = (&file.nodes()[index], file.load(index).unwrap());
                    assert_eq!((node.name.as_str(), node.direction), (written.name.as_str(), direction));
                    assert_eq!((node.linear_before_reset, node.initial_h), (op == "GRU", Given::Absent));
                    assert_eq!((&loaded.w, &loaded.r), (&written.w, &written.r));
                    assert_eq!((&loaded.b, &loaded.p), (&written.b, &written.p));
                }
            }
        }
    }
}

#[test]
fn written_attributes_are_read_as_they_were() {
    let mut nodes = layers("LSTM", Direction::Forward);
    let hard = Activation::HardSigmoid { alpha: 0.2, beta: 0.5 };
    let all = [hard, Activation::LeakyRelu { alpha: 0.5 }, Activation::Affine { alpha: 2.0, beta: 1.0 }];
    for node in &mut nodes {
        node.activations = all.to_vec();
        (node.clip, node.input_forget) = (Some(0.75), true);
    }
    let file = OnnxFile::of(Input::from_bytes(write(&nodes, false).unwrap())).unwrap();
    let node = &file.nodes()[1];
    assert_eq!((node.clip, node.input_forget), (Some(0.75), true));
    assert_eq!(node.activations, all);
    nodes[0].r = array(0.0, &[1, 8, 3]);
    assert!(matches!(write(&nodes[..1], false), Err(Error::Shape { .. } | Error::Unsupported { .. })));
    assert!(write(&[], false).is_err());
}
