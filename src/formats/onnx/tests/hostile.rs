//! Files that are cut off, changed, or made to need much memory or a deep stack.

use super::super::message::{Message, int, ints, node, tensor};
use super::*;

/// Reads whatever can be read.
fn read_all(bytes: Vec<u8>) -> Result<()> {
    let file = OnnxFile::of(Input::from_bytes(bytes))?;
    file.stacks();
    (0..file.nodes().len()).try_for_each(|index| file.load(index).map(drop))?;
    file.initialisers().keys().try_for_each(|name| file.read_initialiser(name).map(drop))
}

fn model(graph: Message) -> Vec<u8> {
    Message::default().message(7, graph).into_bytes()
}

#[test]
fn a_file_cut_off_anywhere_and_with_any_byte_changed_does_no_harm() {
    for name in ["attributes", "folded", "folded_old", "subgraphs", "function", "typed", "external", "torch_lstm"] {
        let bytes = std::fs::read(path(&format!("{name}.onnx"))).unwrap();
        for end in 0..bytes.len() {
            let _ = read_all(bytes[..end].to_vec());
        }
        for at in 0..bytes.len() {
            for change in [0xff, 0x80, 0x01, 0x7f] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                let _ = read_all(changed);
            }
        }
    }
}

#[test]
fn a_length_of_2_to_the_63_is_an_error() {
    let huge = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01];
    for field in [2_u8, 7, 14, 25] {
        let mut bytes = vec![field << 3 | 2];
        bytes.extend(huge);
        assert!(matches!(OnnxFile::of(Input::from_bytes(bytes)), Err(Error::Format { .. })));
    }
    let dimensions = Message::default().int(1, i64::MAX).int(1, 4).int(2, 1).text(8, "W").bytes(9, &[0; 4]);
    let negative = Message::default().int(1, -1).int(2, 1).text(8, "W");
    assert!(read_all(model(Message::default().message(5, dimensions))).is_err());
    assert!(read_all(model(Message::default().message(5, negative))).is_err());
}

#[test]
fn graphs_10_000_deep_in_each_other_are_an_error() {
    let mut graph = Message::default();
    for _ in 0..10_000 {
        let attribute = Message::default().text(1, "b").message(6, graph).int(20, 5);
        graph = Message::default().message(1, Message::default().text(4, "If").message(5, attribute));
    }
    assert!(matches!(read_all(model(graph)), Err(Error::Format { .. })));
}

#[test]
fn functions_that_call_themselves_or_double_are_an_error() {
    let call = |name: &str| Message::default().text(4, name).text(7, "d");
    let function = |name: &str, calls: &str| {
        let function = Message::default().text(1, name).text(10, "d");
        function.message(7, call(calls)).message(7, call(calls))
    };
    let mut bytes = model(Message::default().message(1, call("f0")));
    for index in 0..40 {
        let (name, calls) = (format!("f{index}"), format!("f{}", index + 1));
        bytes.extend(Message::default().message(25, function(&name, &calls)).into_bytes());
    }
    assert!(matches!(read_all(bytes), Err(Error::Format { .. })));
    let mut itself = model(Message::default().message(1, call("f")));
    itself.extend(Message::default().message(25, function("f", "f")).into_bytes());
    assert!(matches!(read_all(itself), Err(Error::Format { .. })));
}

/// An RNN whose W is what `nodes` make of `x`, a tensor of one element.
fn with_folded(nodes: impl IntoIterator<Item = Message>) -> Vec<u8> {
    let graph = Message::default().message(5, tensor("x", 1, &[1], &[0; 4]));
    let sizes: Vec<u8> = [1_i64 << 20, 1 << 20].iter().flat_map(|size| size.to_le_bytes()).collect();
    let graph = graph.message(5, tensor("sizes", 7, &[2], &sizes));
    let graph = nodes.into_iter().fold(graph, |graph, node| graph.message(1, node));
    model(graph.message(1, node("RNN", &["X", "W", "W"], &["Y"], vec![int("hidden_size", 1)])))
}

#[test]
fn folding_is_bounded_in_memory_operations_and_depth() {
    let problem = |bytes| OnnxFile::of(Input::from_bytes(bytes)).unwrap().nodes()[0].problem.clone().unwrap();
    let expand = with_folded([node("Expand", &["x", "sizes"], &["W"], vec![])]);
    assert!(problem(expand).contains("far larger than what the file stores"));
    let fill = with_folded([node("ConstantOfShape", &["sizes"], &["W"], vec![])]);
    assert!(problem(fill).contains("far larger than what the file stores"));
    let doubled = |step: usize, last: usize| {
        let input = if step == 0 { "x".to_owned() } else { format!("x{step}") };
        let output = if step == last { "W".to_owned() } else { format!("x{}", step + 1) };
        node("Concat", &[&input, &input], &[&output], vec![int("axis", 0)])
    };
    assert!(problem(with_folded((0..=60).map(|step| doubled(step, 60)))).contains("too many operations"));
    let chain = (0..100_000).map(|step| {
        let (input, output) =
            (format!("x{step}"), if step == 99_999 { "W".to_owned() } else { format!("x{}", step + 1) });
        node("Transpose", &[&input], &[&output], vec![ints("perm", &[0])])
    });
    assert!(problem(with_folded(chain)).contains("too many operations"));
    let circle = ["Identity", "Squeeze"].map(|op| with_folded([node(op, &["W"], &["W"], vec![])]));
    circle.into_iter().for_each(|bytes| assert!(problem(bytes).contains("W")));
}
