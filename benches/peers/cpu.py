"""The CPU path beside PyTorch and ONNX Runtime: the same shapes, in turn, on the same machine, as ratios.

    cargo build --release --example bench
    pip install torch onnx onnxruntime
    python benches/peers/cpu.py [--cell lstm|gru|rnn] [--rounds 5]

Prints a table in Markdown: the median of each, and how many times as fast as each peer we are. Peers are given what they like
best: inference mode, two warm-up calls at least, all threads of the machine.
"""

import argparse
import json
import math
import pathlib
import statistics
import subprocess
import time

import numpy
import onnx
import onnxruntime
import torch

BENCH = pathlib.Path(__file__).parent.parent.parent / "target/release/examples/bench"
SHAPES = [
    (10, 3, 100, 20, 4, 1),
    (1, 1, 128, 128, 1, 1),
    (100, 1, 64, 256, 1, 1),
    (150, 16, 256, 256, 1, 1),
    (25, 16, 512, 512, 1, 1),
    (25, 64, 512, 512, 1, 1),
    (50, 4, 1536, 1536, 1, 1),
    (100, 8, 128, 256, 2, 2),
]
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
SECONDS = 0.4


def timed(call) -> float:
    """The median time of a call in milliseconds."""
    for _ in range(2):
        call()
    times, start = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < SECONDS:
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return statistics.median(times) * 1e3


def ours(cell: str, shape: tuple, repeat: int) -> float:
    arguments = ["--device", "cpu", "--json", "--cell", cell, "--repeat", str(repeat)]
    arguments += ["--shape", ",".join(map(str, shape))]
    return json.loads(subprocess.run([BENCH, *arguments], check=True, capture_output=True, text=True).stdout)["median_ms"]


def of_torch(cell: str, shape: tuple):
    t, b, i, h, layers, directions = shape
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]
    module, x = kind(i, h, layers, bidirectional=directions == 2).eval(), torch.randn(t, b, i)

    def call() -> None:
        with torch.inference_mode():
            module(x)

    return call


def of_onnx(cell: str, shape: tuple):
    t, b, i, h, layers, directions = shape
    rng, gates = numpy.random.default_rng(0), GATES[cell]
    nodes, weights, last = [], [], "x"
    for layer in range(layers):
        features = i if layer == 0 else directions * h
        sizes = {"W": (directions, gates * h, features), "R": (directions, gates * h, h), "B": (directions, 2 * gates * h)}
        for name, size in sizes.items():
            values = rng.uniform(-(h**-0.5), h**-0.5, size).astype(numpy.float32)
            weights.append(onnx.numpy_helper.from_array(values, f"{name}{layer}"))
        inputs = [last, f"W{layer}", f"R{layer}", f"B{layer}"]
        extra = {"linear_before_reset": 1} if cell == "gru" else {}
        direction = "bidirectional" if directions == 2 else "forward"
        nodes.append(onnx.helper.make_node(cell.upper(), inputs, [f"y{layer}"], hidden_size=h, direction=direction, **extra))
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
    return lambda: session.run(None, {"x": x})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", choices=GATES, default="lstm")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(f"PyTorch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}, {torch.get_num_threads()} threads\n")
    print("| T,B,I,H,L,D | ours, ms | PyTorch, ms | ONNX Runtime, ms | times PyTorch | times ONNX Runtime |")
    print("|---|---|---|---|---|---|")
    ratios = []
    for shape in SHAPES:
        calls = [of_torch(arguments.cell, shape), of_onnx(arguments.cell, shape)]
        rounds = []
        for _ in range(arguments.rounds):
            peers = [timed(call) for call in calls]
            rounds.append([ours(arguments.cell, shape, max(5, int(SECONDS * 1e3 / peers[0]))), *peers])
        own, pytorch, onnx_runtime = (statistics.median(column) for column in zip(*rounds))
        ratios.append((pytorch / own, onnx_runtime / own))
        name = ",".join(map(str, shape))
        print(f"| {name} | {own:.3f} | {pytorch:.3f} | {onnx_runtime:.3f} | {ratios[-1][0]:.2f} | {ratios[-1][1]:.2f} |")
    means = [math.exp(statistics.mean(math.log(ratio) for ratio in column)) for column in zip(*ratios)]
    print(f"| geometric mean | | | | {means[0]:.2f} | {means[1]:.2f} |")


if __name__ == "__main__":
    main()
