"""The CPU path beside PyTorch, ONNX Runtime, candle and burn: the same shapes, in turn, on the same machine, as ratios.

    cargo build --release --example bench
    cargo build --release --manifest-path benches/peers/candle/Cargo.toml
    cargo build --release --manifest-path benches/peers/burn/Cargo.toml
    pip install torch onnx onnxruntime
    python benches/peers/cpu.py [--cell lstm|gru|rnn] [--rounds 5] [--shape T,B,I,H[,L[,D]] …] [--train]

Prints a table in Markdown: the median of each, and how many times as fast as each peer we are. Peers are given what
they like best: inference mode, two warm-up calls at least, all threads of the machine. candle and burn (on flex, its
CPU backend) are left out where they are not built, and have a dash where they lack the cell or would need several
layers or directions. With --train, forward and backward with the gradients of everything are timed, beside all but ONNX
Runtime.
"""

import argparse
import statistics
import sys
import time

import numpy
import onnx
import onnxruntime
import torch

import common

GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def timed(call) -> float:
    """The median time of a call in milliseconds."""
    for _ in range(2):
        call()
    times, start = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < common.SECONDS:
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return statistics.median(times) * 1e3


# Each peer makes of a cell and a shape what times it once, or None where it cannot.


def of_torch(cell: str, shape: tuple):
    t, b, i, h, layers, directions = shape
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]
    module, x = kind(i, h, layers, bidirectional=directions == 2).eval(), torch.randn(t, b, i)

    def call() -> None:
        with torch.inference_mode():
            module(x)

    return lambda: timed(call)


def of_torch_training(cell: str, shape: tuple):
    t, b, i, h, layers, directions = shape
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]
    module, x = kind(i, h, layers, bidirectional=directions == 2), torch.randn(t, b, i, requires_grad=True)
    states = [torch.zeros(layers * directions, b, h, requires_grad=True) for _ in range(1 + (cell == "lstm"))]
    given, leaves = torch.randn(t, b, directions * h), [x, *states, *module.parameters()]

    def call() -> None:
        output, _ = module(x, tuple(states) if len(states) == 2 else states[0])
        torch.autograd.grad(output, leaves, given)

    return lambda: timed(call)


def of_onnx(cell: str, shape: tuple):
    t, b, i, h, layers, directions = shape
    rng, gates = numpy.random.default_rng(0), GATES[cell]
    nodes, weights, last = [], [], "x"
    for layer in range(layers):
        features = i if layer == 0 else directions * h
        rows = gates * h
        sizes = {"W": (directions, rows, features), "R": (directions, rows, h), "B": (directions, 2 * rows)}
        for name, size in sizes.items():
            values = rng.uniform(-(h**-0.5), h**-0.5, size).astype(numpy.float32)
            weights.append(onnx.numpy_helper.from_array(values, f"{name}{layer}"))
        inputs = [last, f"W{layer}", f"R{layer}", f"B{layer}"]
        attributes = {"hidden_size": h, "direction": "bidirectional" if directions == 2 else "forward"}
        if cell == "gru":
            attributes["linear_before_reset"] = 1
        nodes.append(onnx.helper.make_node(cell.upper(), inputs, [f"y{layer}"], **attributes))
        # [T, D, B, H] to [T, B, D·H], as the next layer reads it.
        nodes.append(onnx.helper.make_node("Transpose", [f"y{layer}"], [f"t{layer}"], perm=[0, 2, 1, 3]))
        nodes.append(onnx.helper.make_node("Reshape", [f"t{layer}", "shape"], [f"o{layer}"]))
        last = f"o{layer}"
    weights.append(onnx.numpy_helper.from_array(numpy.array([t, b, directions * h], numpy.int64), "shape"))
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "rnn", [value("x", onnx.TensorProto.FLOAT, [t, b, i])],
        [value(last, onnx.TensorProto.FLOAT, [t, b, directions * h])], weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = rng.standard_normal((t, b, i)).astype(numpy.float32)
    return lambda: timed(lambda: session.run(None, {"x": x}))


def of_candle(cell: str, shape: tuple, *train: str):
    if cell == "rnn" or shape[4:] != (1, 1):
        return None
    return lambda: common.theirs(common.binary("candle"), *train, cell, ",".join(map(str, shape[:4])))


def of_candle_training(cell: str, shape: tuple):
    return of_candle(cell, shape, "train")


def of_burn(cell: str, shape: tuple, *train: str):
    if shape[4:] != (1, 1):
        return None
    return lambda: common.theirs(common.binary("burn"), "flex", *train, cell, ",".join(map(str, shape[:4])))


def of_burn_training(cell: str, shape: tuple):
    return of_burn(cell, shape, "train")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", choices=GATES, default="lstm")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", action="append")
    parser.add_argument("--train", action="store_true")
    arguments = parser.parse_args()
    versions = [f"PyTorch {torch.__version__}"]
    if arguments.train:
        peers, of_binaries = {"PyTorch": of_torch_training}, (of_candle_training, of_burn_training)
    else:
        peers, of_binaries = {"PyTorch": of_torch, "ONNX Runtime": of_onnx}, (of_candle, of_burn)
        versions.append(f"ONNX Runtime {onnxruntime.__version__}")
    binaries = zip(("candle", "burn"), ("candle", "burn (flex)"), of_binaries, ("candle-nn", "burn"))
    train = ["--train"] * arguments.train
    for peer, name, make, package in binaries:
        if common.binary(peer).exists():
            peers[name] = make
            versions.append(f"{name} {common.version(peer, package)}")
        else:
            print(f"Without {name}, which is not built: {common.how_to_build(peer)}", file=sys.stderr)
    print(f"{', '.join(versions)}; {torch.get_num_threads()} threads\n")
    table = common.Table("T,B,I,H,L,D", list(peers))
    for shape in map(common.sizes, arguments.shape or common.SHAPES):
        name = ",".join(map(str, shape))
        measures = [make(arguments.cell, shape) for make in peers.values()]
        own, rounds = [], [[] for _ in measures]
        for _ in range(arguments.rounds):
            for measure, times in zip(measures, rounds):
                if measure:
                    times.append(measure())
            repeat = common.repeats(rounds[0][-1])
            line = common.ours(name, "--device", "cpu", "--cell", arguments.cell, "--repeat", repeat, *train)
            own.append(line["median_ms"])
        table.row(name, own, rounds)
    table.end()


if __name__ == "__main__":
    main()
