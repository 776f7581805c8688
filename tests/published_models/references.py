"""Runs a recurrent layer of a model's file with the framework that made it, and with own maths in float64."""
import ast
import json
import pickle
import types
import zipfile
from dataclasses import dataclass, field

import h5py
import keras
import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper

from packages import archive, member

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@dataclass
class Case:
    """A layer: how to run it with its framework, and its weights in PyTorch's order for own maths."""
    kind: str
    inputs: int
    hidden: int
    directions: int
    run: object  # (x [T, B, I], h_0, c_0 [L·D, B, H]) to (output [T, B, D·H], h_n, c_n)
    cells: list  # a dict per layer and direction, in PyTorch's order
    special: str = ""
    guesses: dict = field(default_factory=dict)  # what a reader may take for it if the file does not tell


# Own maths

def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hard_sigmoid(x):
    """Computes that of Keras 1 and 2; Keras 3 has x/6 + 0.5."""
    return np.clip(0.2 * x + 0.5, 0, 1)


def step(cell, kind, x, h, c, sig):
    """Computes one time step, all in PyTorch's gate order (i, f, g, o; r, z, n)."""
    a, b = x @ cell["w_ih"].T + cell["b_ih"], h @ cell["w_hh"].T + cell["b_hh"]
    if kind == "RNN":
        return np.tanh(a + b), None
    if kind == "GRU":
        (ar, az, an), (br, bz, bn) = np.split(a, 3, -1), np.split(b, 3, -1)
        r, z = sig(ar + br), sig(az + bz)
        if not cell.get("reset_after", True):
            n = cell["w_hh"].shape[1]
            bn, r = (r * h) @ cell["w_hh"][2 * n:].T + cell["b_hh"][2 * n:], 1
        return (1 - z) * np.tanh(an + r * bn) + z * h, None
    i, f, g, o = np.split(a + b, 4, -1)
    p_i, p_o, p_f = cell.get("p", np.zeros((3, h.shape[-1])))
    c_next = sig(f + p_f * c) * c + sig(i + p_i * c) * np.tanh(g)
    return sig(o + p_o * c_next) * np.tanh(c_next), c_next


def own_maths(case, x, h_0, c_0, sig=None):
    """Computes the whole layer in float64."""
    x, h_n, c_n = x.astype(np.float64), [], []
    for layer in range(len(case.cells) // case.directions):
        outputs = []
        for d in range(case.directions):
            k = layer * case.directions + d
            cell = {n: v.astype(np.float64) if isinstance(v, np.ndarray) else v for n, v in case.cells[k].items()}
            h, c = h_0[k].astype(np.float64), None if c_0 is None else c_0[k].astype(np.float64)
            order = range(len(x)) if d == 0 else reversed(range(len(x)))
            y = np.zeros((*x.shape[:2], case.hidden))
            for t in order:
                h, c = step(cell, case.kind, x[t], h, c, sig or cell.get("sig", sigmoid))
                y[t] = h
            outputs.append(y), h_n.append(h), c_n.append(c)
        x = np.concatenate(outputs, -1)
    return x, np.stack(h_n), np.stack(c_n) if case.kind == "LSTM" else None


# ONNX

def scopes(graph, outer=()):
    """Yields every graph with the chain of graphs around it, the innermost first."""
    chain = (graph, *outer)
    yield chain
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from scopes(attribute.g, chain)


def constant(model, chain, name):
    """Computes a tensor that depends on no input: an initialiser, or the nodes that make it, run by ONNX Runtime."""
    nodes, initialisers, seen = [], {}, set()

    def visit(name):
        if not name or name in seen:
            return
        seen.add(name)
        for graph in chain:
            for tensor in graph.initializer:
                if tensor.name == name:
                    initialisers[name] = tensor
                    return
            for node in graph.node:
                if name in node.output:
                    for each in node.input:
                        visit(each)
                    nodes.append(node)
                    return
        raise KeyError(f"{name} is no constant")

    visit(name)
    if name in initialisers:
        return numpy_helper.to_array(initialisers[name])
    out = helper.make_empty_tensor_value_info(name)
    graph = helper.make_graph(nodes, "constant", [], [out], list(initialisers.values()))
    return session(graph, model).run([name], {})[0]


def session(graph, model):
    opsets = [o for o in model.opset_import if o.domain in ("", "ai.onnx")]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=max(model.ir_version, 7))
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    return onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])


def onnx_node(path, model):
    """Takes the node out of its graph, with its weights as initialisers, and runs it with ONNX Runtime."""
    file = onnx.load(path)
    chain, node = next((c, n) for c in scopes(file.graph) for n in c[0].node
                       if n.name == model.layer and n.op_type in GATES)
    kind, attributes = node.op_type, {a.name: helper.get_attribute_value(a) for a in node.attribute}
    roles = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]
    weights = {r: constant(file, chain, n) for r, n in zip(roles, node.input) if n and r in "WRBP"}
    w, hidden = weights["W"], weights["R"].shape[-1]
    directions = w.shape[0]
    names = [r if r in weights or r in ("X", "initial_h") or r == "initial_c" and kind == "LSTM" else "" for r in roles]
    while not names[-1]:
        names.pop()
    outputs = ["Y", "Y_h", "Y_c"][:3 if kind == "LSTM" else 2]
    one = helper.make_node(kind, names, outputs)
    one.attribute.extend(node.attribute)
    values = lambda names: [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names]
    state = [directions, "B", hidden]
    shapes = {"X": ["T", "B", w.shape[2]], "initial_h": state, "initial_c": state}
    inputs = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, shapes[n]) for n in names if n in shapes]
    tensors = [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in weights.items()]
    runner = session(helper.make_graph([one], "one", inputs, values(outputs), tensors), file)

    def run(x, h_0, c_0):
        given = {"X": x, "initial_h": h_0, **({} if c_0 is None else {"initial_c": c_0})}
        y, *states = runner.run(outputs, given)
        return y.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1), *states

    order = {"LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2], "RNN": [0]}[kind]  # from i,o,f,c and z,r,h
    gates = lambda rows: np.concatenate([np.split(rows, len(order))[k] for k in order])
    cells = []
    for d in range(directions):
        b = weights["B"][d] if "B" in weights else np.zeros(2 * w.shape[1], np.float32)
        cells.append({"w_ih": gates(w[d]), "w_hh": gates(weights["R"][d]), "b_ih": gates(np.split(b, 2)[0]),
                      "b_hh": gates(np.split(b, 2)[1]), "reset_after": bool(attributes.get("linear_before_reset", 0))})
        if "P" in weights:
            cells[-1]["p"] = np.split(weights["P"][d], 3)  # i, o, f
    special = [f"in {len(chain) - 1} subgraphs"] if len(chain) > 1 else []
    special += ["peepholes"] if "P" in weights else []
    special += ["reset before"] if kind == "GRU" and not cells[0]["reset_after"] else []
    return Case(kind, w.shape[2], hidden, directions, run, cells, ", ".join(special))


# Keras

def keras_layer(path, model):
    """Runs the layer with Keras 3, from its stored configuration and weights, with the hard sigmoid of its version."""
    config, arrays, version = (keras_zip if zipfile.is_zipfile(path) else keras_hdf5)(path, model)
    config = {**config, **dict(model.stated)}
    inner = config["layer"]["config"] if "layer" in config else config
    kind = (config["layer"]["class_name"] if "layer" in config else model.kind or config["class_name"])
    kind = kind.replace("CuDNN", "")
    inner = {**inner, **dict(model.stated)}
    if len(arrays) not in (3, 6):
        raise ValueError(f"{len(arrays)} arrays")
    gates = GATES[kind]
    hidden = arrays[0].shape[1] // gates
    arrays = [a for k in range(0, len(arrays), 3) for a in from_cudnn(*arrays[k:k + 3], gates)]
    hard = inner.get("recurrent_activation") == "hard_sigmoid" and version < "3"
    sig = hard_sigmoid if hard else sigmoid
    return keras_case(kind, hidden, arrays, config.get("merge_mode"), sig, model)


def keras_hdf5(path, model):
    """Reads an HDF5 file of Keras 1 or 2, with or without a configuration."""
    with h5py.File(path) as file:
        text = lambda v: v.decode() if isinstance(v, bytes) else v
        version, config = text(file.attrs["keras_version"]), {}
        group = file["model_weights"] if "model_weights" in file else file
        if "model_config" in file.attrs:
            config = found(json.loads(text(file.attrs["model_config"])), model.layer)
        names = [text(n) for n in group[model.layer].attrs["weight_names"]]
        return config, [group[model.layer][n][()] for n in names], version


def keras_zip(path, model):
    """Reads a `.keras` file with Keras itself."""
    layer = keras.saving.load_model(path, compile=False).get_layer(model.layer)
    return layer.get_config(), [np.array(w) for w in layer.get_weights()], "3"


def found(tree, name):
    """Returns the configuration of the layer of that name, wherever it is nested."""
    if isinstance(tree, dict):
        config = tree.get("config")
        if isinstance(config, dict) and config.get("name") == name and "class_name" in tree:
            return {"class_name": tree["class_name"], **config}
    values = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else []
    return next((hit for v in values if (hit := found(v, name))), None)


def from_cudnn(kernel, recurrent, bias, gates):
    """Turns the weights of a CuDNN LSTM, known by its flat bias of 8·H, to those of an LSTM as Keras 2 does."""
    if gates != 4 or bias.shape != (2 * kernel.shape[1],):
        return kernel, recurrent, bias
    kernel = [k.T.reshape(k.shape, order="F") for k in np.split(kernel, 4, axis=1)]
    recurrent = [k.T for k in np.split(recurrent, 4, axis=1)]
    return np.concatenate(kernel, 1), np.concatenate(recurrent, 1), np.split(bias, 2)[0] + np.split(bias, 2)[1]


@keras.saving.register_keras_serializable()
def keras_2_hard_sigmoid(x):
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def keras_case(kind, hidden, arrays, merge_mode, sig, model):
    directions = len(arrays) // 3
    gate = keras_2_hard_sigmoid if sig is hard_sigmoid else "sigmoid"
    options = {} if kind == "RNN" else {"recurrent_activation": gate}
    if kind == "GRU":
        options["reset_after"] = arrays[2].ndim == 2
    make = {"LSTM": keras.layers.LSTM, "GRU": keras.layers.GRU, "RNN": keras.layers.SimpleRNN}[kind]
    layer = make(hidden, return_sequences=True, return_state=True, **options)
    if directions == 2:
        if merge_mode not in (None, "concat"):
            raise ValueError(f"merge_mode {merge_mode}")
        layer = keras.layers.Bidirectional(layer, merge_mode="concat")
    layer.build((2, None, arrays[0].shape[0]))
    layer.set_weights(arrays)

    def run(x, h_0, c_0):
        states = [torch.tensor(s[d]) for d in range(directions) for s in ([h_0] if c_0 is None else [h_0, c_0])]
        with torch.no_grad():
            y, *states = layer(torch.tensor(x.transpose(1, 0, 2).copy()), initial_state=states)
        y, states = np.array(y.cpu()).transpose(1, 0, 2), [np.array(s.cpu()) for s in states]
        return (y, np.stack(states), None) if c_0 is None else (y, np.stack(states[::2]), np.stack(states[1::2]))

    order = {"LSTM": [0, 1, 2, 3], "GRU": [1, 0, 2], "RNN": [0]}[kind]  # from i,f,c,o and z,r,h
    gates = lambda a: np.concatenate([np.split(a, len(order), -1)[k] for k in order], -1)
    cells = []
    for d in range(directions):
        w, r, b = arrays[3 * d:3 * d + 3]
        b_ih, b_hh = (b[0], b[1]) if b.ndim == 2 else (b, np.zeros_like(b))
        cells.append({"w_ih": gates(w).T, "w_hh": gates(r).T, "b_ih": gates(b_ih), "b_hh": gates(b_hh), "sig": sig,
                      "reset_after": arrays[2].ndim == 2})
    special = ["hard sigmoid"] if sig is hard_sigmoid else []
    special += ["reset before"] if kind == "GRU" and arrays[2].ndim == 1 else []
    special += [model.why] if model.why else []
    guesses = {"a sigmoid": {"sig": sigmoid}} if sig is hard_sigmoid else {}
    return Case(kind, arrays[0].shape[0], hidden, directions, run, cells, ", ".join(special), guesses)


# PyTorch, safetensors, NumPy

class Stub:
    """Stands for a class of a pickle, so that no code of its package runs: it keeps what was stored."""

    def __init__(self, *_):
        pass

    def __setstate__(self, state):
        self.__dict__.update(state)


class StubPickle:
    """A pickle module that knows tensors and containers alone."""

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            allowed = module == "torch._utils" and name.startswith("_rebuild_")
            if allowed or (module, name) == ("collections", "OrderedDict"):
                return super().find_class(module, name)
            return type(name, (Stub,), {})

    load = staticmethod(lambda file, **options: StubPickle.Unpickler(file, **options).load())


def flat(tree, prefix=""):
    """Returns the tensors of nested dictionaries, and of whole modules, under dotted names."""
    if isinstance(tree, Stub):
        tree = {**vars(tree).get("_parameters", {}), **vars(tree).get("_modules", {})}
    if isinstance(tree, dict):
        return {k: v for n, t in tree.items() for k, v in flat(t, f"{prefix}{n}.").items()}
    return {prefix[:-1]: tree} if isinstance(tree, torch.Tensor) else {}


def tensors(path):
    """Returns all tensors of a file, whatever its format."""
    if path.suffix == ".onnx":
        return {t.name: torch.tensor(numpy_helper.to_array(t)) for t in onnx.load(path).graph.initializer}
    if path.suffix == ".npz":
        return {k: torch.tensor(v) for k, v in np.load(path, allow_pickle=False).items()}
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file
        return load_file(path)
    try:
        return flat(torch.load(path, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError:
        return flat(torch.load(path, map_location="cpu", weights_only=False, pickle_module=StubPickle))


def torch_layer(path, model):
    """Runs the tensors of PyTorch's names, after renaming, with torch.nn."""
    renamed = dict(r.split("=") for r in model.renames)
    state = {renamed.get(k, k): v.detach().float() for k, v in tensors(path).items()}
    state = {k.removeprefix(model.prefix): v for k, v in state.items() if k.startswith(model.prefix)}
    state = {k: v for k, v in state.items() if k.startswith(("weight_ih_l", "weight_hh_l", "bias_ih_l", "bias_hh_l"))}
    rows, hidden = state["weight_hh_l0"].shape
    kind = next(k for k, g in GATES.items() if g * hidden == rows)
    directions = 2 if "weight_ih_l0_reverse" in state else 1
    layers = sum(k.startswith("weight_hh") for k in state) // directions
    inputs = state["weight_ih_l0"].shape[1]
    layer = getattr(torch.nn, kind)(inputs, hidden, layers, bidirectional=directions == 2)
    layer.load_state_dict(state)

    def run(x, h_0, c_0):
        h_0 = torch.tensor(h_0) if c_0 is None else (torch.tensor(h_0), torch.tensor(c_0))
        with torch.no_grad():
            y, states = layer(torch.tensor(x), h_0)
        return y.numpy(), *(s.numpy() for s in (states if isinstance(states, tuple) else [states]))

    cells = []
    for suffix in (f"_l{k}{r}" for k in range(layers) for r in ["", "_reverse"][:directions]):
        short = {"w_ih": "weight_ih", "w_hh": "weight_hh", "b_ih": "bias_ih", "b_hh": "bias_hh"}
        cells.append({a: state[b + suffix].numpy() for a, b in short.items()})
    return Case(kind, inputs, hidden, directions, run, cells, model.why)


def package_gru(path, model):
    """Runs the GRU of an .npz with the NumPy code of its own package: the functions `sigmoid`, `grucell` and `gru`."""
    case = torch_layer(path, model)
    source = member(archive(model.package, path.parents[2]).read_bytes(), model.code).decode()
    wanted = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)
              and n.name in ("sigmoid", "grucell", "gru")]
    space = {"np": np}
    exec(compile(ast.Module(wanted, []), model.code, "exec"), space)  # plain arithmetic, read before it was pinned
    this = types.SimpleNamespace()
    this.sigmoid = lambda x: space["sigmoid"](this, x)
    this.grucell = lambda *a: space["grucell"](this, *a)
    c = case.cells[0]

    def run(x, h_0, _):
        y = space["gru"](this, x.transpose(1, 0, 2), len(x), c["w_ih"], c["w_hh"], c["b_ih"], c["b_hh"], h0=h_0[0])
        return y.transpose(1, 0, 2), y[None, :, -1], None

    case.run = run
    return case


REFERENCES = {"onnx": onnx_node, "keras": keras_layer, "torch": torch_layer, "package": package_gru}
