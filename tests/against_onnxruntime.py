"""Compares `infer` with ONNX Runtime on random LSTM, GRU and RNN operators over all their attributes.

    python against_onnxruntime.py [--op LSTM] [--cases 200] [--seed 0] [--device cpu] [--infer PATH]

Tolerance. A pre-activation is a sum of I + H products, two biases and two more operations of f32 (I + H + 4), each
rounded by eps of the sum of the magnitudes, and both programs round: 2 (I + H + 4) eps M per step, with M = the largest
magnitude seen among outputs and states, at least 1. Errors of a step enter the next one multiplied by the largest gain
of a step; weights are drawn from +-1/sqrt(H) as PyTorch does, with which errors do not grow by more than they are added
again in every step, so the factor for T steps is T. ONNX Runtime's own tanh and sigmoid are rational functions within
4 eps, hence + 4 in the count. The worst ratio of error to tolerance is printed; above 1 the run fails.

Where ONNX Runtime (1.32, CPU) is not the specification, and what is done about it:
- layout 1 is refused: it gets a layout-0 copy of the model, with X and states transposed;
- a length of 0 gives zero Y_h and Y_c, where the initial state is passed through here: those rows expect the state;
- RNN takes activation names only in the case of the specification, LSTM and GRU in any;
- a missing alpha or beta of Affine, ScaledTanh or ThresholdedRelu is 0 there and an error here: always given;
- ThresholdedRelu is x > alpha, not x >= alpha: different at one point only, and not continuous there, so that a rounding
  can jump. It is left out unless --discontinuous is given;
- RNN takes a clip of 0 or less (below 0: none); LSTM, GRU and this project refuse it;
- f64, f16 and bf16 operators do not run.
"""
import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save_file

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
ACTIVATIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
# Name: draw alpha, draw beta (None: takes none), and whether both may be left to the default.
FUNCTIONS = {
    "Tanh": (None, None, True), "Sigmoid": (None, None, True), "Relu": (None, None, True),
    "Affine": ((0.2, 0.8), (-0.5, 0.5), False), "LeakyRelu": ((0.0, 0.3), None, True),
    "ThresholdedRelu": ((0.0, 0.5), None, False), "ScaledTanh": ((0.3, 1.0), (0.3, 1.0), False),
    "HardSigmoid": ((0.1, 0.4), (0.2, 0.7), True), "Elu": ((0.3, 1.0), None, True),
    "Softsign": (None, None, True), "Softplus": (None, None, True),
}


def uniform(rng, bound, *shape):
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def draw_activations(rng, op, d, discontinuous):
    """Alpha and beta are taken in order by those that have one, so a default can only be left out at the end."""
    names = [n for n in FUNCTIONS if discontinuous or n != "ThresholdedRelu"]
    chosen, alphas, betas = [], [], []
    for name in rng.choice(names, ACTIVATIONS[op] * d):
        alpha, beta, has_default = FUNCTIONS[name]
        chosen.append(str(name))
        alphas.append((alpha, has_default))
        betas.append((beta, has_default))

    def values(drawn):
        drawn = [(bounds, default) for bounds, default in drawn if bounds]
        needed = max([k + 1 for k, (_, default) in enumerate(drawn) if not default], default=0)
        kept = int(rng.integers(needed, len(drawn) + 1))
        return [float(np.float32(rng.uniform(*bounds))) for bounds, _ in drawn[:kept]]

    alphas, betas = values(alphas), values(betas)
    if op != "RNN":
        chosen = [n.lower() if rng.random() < 0.3 else n for n in chosen]
    attributes = {"activations": chosen}
    if alphas:
        attributes["activation_alpha"] = alphas
    if betas:
        attributes["activation_beta"] = betas
    return attributes


def case(rng, op, discontinuous):
    t, b, i, hidden = (int(rng.integers(1, high)) for high in (13, 7, 18, 34))
    direction = str(rng.choice(["forward", "reverse", "bidirectional"]))
    d, g, layout = 1 + (direction == "bidirectional"), GATES[op], int(rng.random() < 0.3)
    attributes = {"hidden_size": hidden, "direction": direction}
    if rng.random() < 0.5:
        attributes |= draw_activations(rng, op, d, discontinuous)
    if rng.random() < 0.3:
        attributes["clip"] = float(np.float32(rng.uniform(0.1, 1.0)))
    if op == "LSTM" and rng.random() < 0.3:
        attributes["input_forget"] = 1
    if op == "GRU" and rng.random() < 0.5:
        attributes["linear_before_reset"] = 1
    bound = hidden**-0.5
    weights = {"W": uniform(rng, bound, d, g * hidden, i), "R": uniform(rng, bound, d, g * hidden, hidden)}
    if rng.random() < 0.7:
        weights["B"] = uniform(rng, bound, d, 2 * g * hidden)
    if op == "LSTM" and rng.random() < 0.4:
        weights["P"] = uniform(rng, bound, d, 3 * hidden)
    data = {"input": uniform(rng, 1, t, b, i)}
    if rng.random() < 0.5:
        data["h_0"] = uniform(rng, 1, d, b, hidden)
        if op == "LSTM":
            data["c_0"] = uniform(rng, 1, d, b, hidden)
    if rng.random() < 0.4:
        data["lengths"] = rng.integers(0, t + 1, b).astype(np.int64)
        data["lengths"][rng.integers(b)] = t
    return (t, b, i, hidden, d, layout), attributes, weights, data


def model(op, sizes, attributes, weights, data, layout):
    _, _, i, hidden, d, _ = sizes
    state = ["B", d, hidden] if layout else [d, "B", hidden]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["A", "B", i])]
    names = ["X", "W", "R", "B" if "B" in weights else ""]
    names += ["lengths" if "lengths" in data else "", "h_0" if "h_0" in data else ""]
    if op == "LSTM":
        names += ["c_0" if "c_0" in data else "", "P" if "P" in weights else ""]
    if "lengths" in data:
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["B"]))
    inputs += [helper.make_tensor_value_info(n, TensorProto.FLOAT, state) for n in ("h_0", "c_0") if n in data]
    outputs = ["Y", "Y_h", "Y_c"][: 2 + (op == "LSTM")]
    node = helper.make_node(op, names, outputs, name="layer", **attributes, **({"layout": 1} if layout else {}))
    graph = helper.make_graph([node], "case", inputs,
                              [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
                              [numpy_helper.from_array(array, name) for name, array in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def expected(op, sizes, attributes, weights, data):
    t, b, _, hidden, d, _ = sizes
    feeds = {{"input": "X"}.get(name, name): array for name, array in data.items()}
    if "lengths" in feeds:
        feeds["lengths"] = feeds["lengths"].astype(np.int32)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    proto = model(op, sizes, attributes, weights, data, 0).SerializeToString()
    y, *states = ort.InferenceSession(proto, options, providers=["CPUExecutionProvider"]).run(None, feeds)
    results = {"output": y.transpose(0, 2, 1, 3).reshape(t, b, d * hidden)}
    for name, initial, value in zip(("h_n", "c_n"), ("h_0", "c_0"), states):
        value = value.copy()
        if "lengths" in data:
            nothing = data["lengths"] == 0
            value[:, nothing] = data[initial][:, nothing] if initial in data else 0
        results[name] = value
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--op", choices=list(GATES))
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--infer", default="target/release/examples/infer")
    parser.add_argument("--discontinuous", action="store_true", help="use ThresholdedRelu too")
    parser.add_argument("--only-onnxruntime", action="store_true", help="check that ONNX Runtime takes every case")
    args = parser.parse_args()
    worst, failed, beyond, eps = (0.0, None), [], 0, float(np.finfo(np.float32).eps)
    for number in range(args.cases):
        rng = np.random.default_rng([args.seed, number])
        op = args.op or str(rng.choice(list(GATES)))
        sizes, attributes, weights, data = case(rng, op, args.discontinuous)
        t, b, i, hidden, d, layout = sizes
        about = f"case {number}: {op} T={t} B={b} I={i} layout={layout} {attributes} {sorted(weights)} {sorted(data)}"
        want = expected(op, sizes, attributes, weights, data)
        # Unbounded activations may multiply from step to step until f32 ends; errors grow likewise.
        if not all((np.abs(value) < 1e15).all() for value in want.values()):
            beyond += 1
            continue
        if args.only_onnxruntime:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = lambda name: os.path.join(folder, name)
            onnx.save(model(op, sizes, attributes, weights, data, layout), path("m.onnx"))
            # `infer` takes [T,B,I] whatever the layout of the node.
            save_file({k: np.ascontiguousarray(v) for k, v in data.items()}, path("in.safetensors"))
            command = [args.infer, "--model", path("m.onnx"), "--input", path("in.safetensors"), "--output",
                       path("out.safetensors"), "--layer", "layer", "--device", args.device]
            run = subprocess.run(command, capture_output=True, text=True)
            if run.returncode:
                failed.append(about)
                print(f"FAILED {about}\n  {run.stderr.strip()}")
                continue
            got = load_file(path("out.safetensors"))
        scale = max(1.0, *(float(np.abs(v).max()) for v in want.values()))
        tolerance = 2 * (i + hidden + 4 + 4) * eps * t * scale
        for name, value in want.items():
            if got[name].shape != value.shape:
                failed.append(about)
                print(f"FAILED {about}\n  {name}: {got[name].shape} instead of {value.shape}")
                continue
            error = np.abs(got[name] - value).max() / tolerance
            ratio = float(error) if np.isfinite(error) else float("inf")
            worst = max(worst, (ratio, f"{name} of {about}"), key=lambda pair: pair[0])
            if ratio > 1:
                failed.append(about)
                print(f"FAILED {about}\n  {name}: {ratio:.2f} of the tolerance {tolerance:.1e}")
    print(f"{args.cases} cases, {len(failed)} failures, {beyond} beyond 1e15; worst error {worst[0]:.3f} of the tolerance: {worst[1]}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
