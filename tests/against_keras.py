"""Compares the `infer` example with Keras on random models over all options, saved in every form.

    python against_keras.py --infer target/release/examples/infer [--device cpu] [--rounds 20] [--seed 1] [--folder DIR]

With Keras 3 (KERAS_BACKEND=torch) it writes .keras, .h5 and .weights.h5; with `--tf`, TensorFlow's Keras 2 (tf_keras)
writes .keras, .h5 and both kinds of weights. Files of weights alone are compared only for layers with the default
activations, direction and merge mode, which such a file does not have. Prints each failure and the worst difference, and
exits with 1 if a run failed or a difference is above --tolerance.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
from safetensors.numpy import load_file, save_file

parser = argparse.ArgumentParser()
parser.add_argument("--infer", default="target/release/examples/infer")
parser.add_argument("--device", default="cpu")
parser.add_argument("--rounds", type=int, default=20)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--tolerance", type=float, default=2e-5)
parser.add_argument("--folder", help="keep the files here")
parser.add_argument("--tf", action="store_true")
args = parser.parse_args()

if args.tf:
    import tf_keras as keras
else:
    import keras
L = keras.layers
rng = np.random.default_rng(args.seed)
keras.utils.set_random_seed(args.seed)
KINDS = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "rnn"}
ACTIVATIONS = ["tanh", "sigmoid", "relu", "linear", "hard_sigmoid", "leaky_relu", "elu", "softsign", "softplus"]
BOUNDED = ["tanh", "sigmoid", "hard_sigmoid", "softsign"]


def pick(options):
    return options[rng.integers(len(options))]


def activation():
    name = pick(ACTIVATIONS + ["layer"])
    if name != "layer":
        return name
    slope = float(rng.uniform(0.05, 0.4))
    return L.LeakyReLU(alpha=slope) if args.tf else L.LeakyReLU(negative_slope=slope)


def options(kind, plain):
    chosen = dict(use_bias=bool(rng.random() < 0.8))
    if kind == "GRU":
        chosen["reset_after"] = bool(rng.random() < 0.5) if chosen["use_bias"] or not plain else True
    if not plain:
        chosen["activation"] = activation()
        if kind != "SimpleRNN":
            chosen["recurrent_activation"] = pick(BOUNDED)
    return chosen


def layer(name, plain):
    """Returns a layer, its kind, and whether weights alone tell all about it."""
    kind, units = pick(list(KINDS)), int(rng.integers(1, 9))
    make = getattr(L, kind)
    chosen = options(kind, plain)
    form = pick(["alone", "both", "both", "own backward", "cell"])
    if form == "alone":
        backwards = not plain and bool(rng.random() < 0.4)
        return make(units, return_sequences=True, go_backwards=backwards, name=name, **chosen), kind
    if form == "cell":
        # Weights alone do not tell what kind of cell an RNN has.
        cell = getattr(L, kind + "Cell")(units, **chosen)
        return L.RNN(cell, return_sequences=True, name=name), kind
    merge = "concat" if plain else pick(["concat", "sum", "mul", "ave"])
    forward = make(units, return_sequences=True, **chosen)
    if form == "both" or plain:
        return L.Bidirectional(forward, merge_mode=merge, name=name), kind
    other = chosen | {k: v for k, v in options(kind, plain).items() if k in ("activation", "recurrent_activation")}
    backward = make(units, return_sequences=True, go_backwards=True, **other)
    return L.Bidirectional(forward, backward_layer=backward, merge_mode=merge, name=name), kind


def infer(model, name, data, out, kind=None):
    command = [args.infer, "--model", model, "--layer", name, "--batch-first", "--input", data, "--output", out,
               "--device", args.device]
    command += ["--kind", KINDS[kind]] if kind else []
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(run.stderr.strip() or f"exit status {run.returncode}")
    return load_file(out)["output"]


def numbers(tensor):
    return tensor.detach().cpu().numpy() if hasattr(tensor, "detach") else np.asarray(tensor)


folder = Path(args.folder or tempfile.mkdtemp())
folder.mkdir(parents=True, exist_ok=True)
worst, failures, runs = (0.0, ""), 0, 0
for number in range(args.rounds):
    plain = number % 2 == 1
    steps, inputs, batch = int(rng.integers(1, 12)), int(rng.integers(1, 7)), int(rng.integers(1, 5))
    names = [f"{pick(['zeta', 'enc', 'a', 'lstm', 'gru'])}_{number}_{i}" for i in range(4)]
    layers = [layer(name, plain) for name in names]
    x = keras.Input((steps, inputs))
    # The last layer is in a model in the model.
    wrapped = keras.Sequential([keras.Input((steps, inputs)), layers[-1][0]], name=f"nested_{number}")
    model = keras.Model(x, [made(x) for made, _ in layers[:-1]] + [wrapped(x)])
    model.set_weights([rng.normal(size=w.shape).astype(w.dtype) * 0.5 for w in model.get_weights()])
    value = rng.normal(size=(batch, steps, inputs)).astype(np.float32)
    expected = [numbers(made(value)) for made, _ in layers]
    data, stem = folder / f"{number}.safetensors", folder / str(number)
    save_file({"input": value}, data)
    files = [f"{stem}.keras", f"{stem}.h5"]
    for file in files:
        model.save(file)
    alone = [f"{stem}.weights.h5"] + ([f"{stem}_weights.h5"] if args.tf else [])
    if plain:
        for file in alone:
            model.save_weights(file)
        files += alone
    for file in files:
        for index, ((made, kind), name, wanted) in enumerate(zip(layers, names, expected)):
            by_hand, called = None, name
            if file in alone:
                # TensorFlow's files of weights by class and counter have no names; nested names have a path before them.
                if (args.tf and file.endswith(".weights.h5")) or (args.tf and index == len(layers) - 1):
                    continue
                by_hand = kind
            runs += 1
            try:
                got = infer(file, called, data, folder / "out.safetensors", by_hand)
                if got.shape != wanted.shape:
                    raise RuntimeError(f"shape {got.shape} instead of {wanted.shape}")
                difference = float(np.max(np.abs(got - wanted) / (1 + np.abs(wanted)), initial=0))
                if not difference <= worst[0]:
                    worst = (difference, f"{file} {name}")
            except Exception as error:
                failures += 1
                print(f"FAILED {file} {name} ({type(made).__name__}, {kind}): {error}")
print(f"{runs} runs, {failures} failed; worst difference {worst[0]:.2e} {worst[1]}")
sys.exit(failures > 0 or not worst[0] <= args.tolerance)
