"""Runs the `gradients` example on random LSTMs, GRUs and RNNs and compares its output files with torch.autograd's.

    cargo build --release --example gradients
    python tests/gradients_against_pytorch.py --cell lstm --cases 300 --device cpu

Needs torch and safetensors. The gradients of float32 are compared with those of float64. The error of each tensor,
relative to its largest value, is at most L·(T·B + longest sum)·ε, where ε is that of float32, plus four times the
error of PyTorch's own float32, which is large where units saturate, plus 2ε: near 1, h is rounded by up to ε/2, which
1 - h² doubles, WGSL does not bound the relative error of tanh near 0 at all, and the gradients given are about 1. A case
beyond it fails. The worst case is reported.

GRUs whose reset gate acts before the recurrent product, which PyTorch lacks, are written out step by step in
fixtures/gradients.py.
"""

import argparse
import copy
import pathlib
import random
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

sys.path.insert(0, str(pathlib.Path(__file__).parent / "fixtures"))
from gradients import by_hand  # noqa: E402

GRADIENTS = pathlib.Path(__file__).parent.parent / "target/release/examples/gradients"
EPSILON = torch.finfo(torch.float32).eps
CELLS = ["lstm", "gru", "gru_reset_before", "rnn_tanh", "rnn_relu"]


def random_module(cell: str, rng: random.Random) -> torch.nn.RNNBase:
    arguments = dict(
        input_size=rng.choice([1, 2, 3, 16, 17, 40, 65]),
        hidden_size=rng.choice([1, 2, 7, 8, 9, 16, 31, 33, 64, 65]),
        num_layers=rng.choice([1, 1, 2, 3]),
        bias=rng.random() < 0.7,
        bidirectional=rng.random() < 0.5,
        batch_first=rng.random() < 0.4,
    )
    if cell.startswith("rnn"):
        arguments["nonlinearity"] = cell.removeprefix("rnn_")
    if cell == "lstm" and arguments["hidden_size"] > 1 and rng.random() < 0.3:
        arguments["proj_size"] = rng.randrange(1, arguments["hidden_size"])
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell.split("_")[0]]
    return kind(**arguments)


class Problem:
    """A layer with everything that it reads, differentiated by PyTorch in any number type."""

    def __init__(self, cell: str, module: torch.nn.RNNBase, x: torch.Tensor, state: dict, lengths, batched: bool):
        self.cell, self.module, self.x, self.state, self.lengths, self.batched = cell, module, x, state, lengths, batched

    def results(self, dtype: torch.dtype) -> tuple[dict, dict]:
        """Runs the forward; returns its results, and everything that it reads."""
        module = copy.deepcopy(self.module).to(dtype)
        x = self.x.to(dtype).requires_grad_()
        state = [s.to(dtype).requires_grad_() for s in self.state.values()]
        if self.cell == "gru_reset_before":
            rows = (x.transpose(0, 1) if module.batch_first else x) if self.batched else x.unsqueeze(1)
            states = state if self.batched else [s.unsqueeze(1) for s in state]
            lengths = self.lengths.tolist() if self.lengths is not None else [rows.shape[0]] * rows.shape[1]
            output, last = by_hand(self.cell, module, rows, states, lengths, 0.0)
            if not self.batched:
                output, last = output.squeeze(1), [s.squeeze(1) for s in last]
            elif module.batch_first:
                output = output.transpose(0, 1)
        else:
            packed = x
            if self.lengths is not None:
                packed = pack_padded_sequence(x, self.lengths, module.batch_first, enforce_sorted=False)
            output, last = module(packed, tuple(state) if len(state) == 2 else state[0])
            if self.lengths is not None:
                steps = x.shape[1 if module.batch_first else 0]
                output, _ = pad_packed_sequence(output, module.batch_first, total_length=steps)
            last = list(last) if len(state) == 2 else [last]
        results = {"output": output} | {f"{key[0]}_n": value for key, value in zip(self.state, last)}
        return results, {"input": x} | dict(zip(self.state, state)) | dict(module.named_parameters())

    def gradients(self, dtype: torch.dtype, cotangents: dict) -> dict:
        results, leaves = self.results(dtype)
        gradients = torch.autograd.grad(
            [results[key] for key in cotangents], list(leaves.values()), [c.to(dtype) for c in cotangents.values()],
            allow_unused=True)
        return {f"grad_{key}": torch.zeros_like(leaf) if gradient is None else gradient
                for (key, leaf), gradient in zip(leaves.items(), gradients)}


def run(cell: str, devices: list, adapter: str | None, folder: pathlib.Path, rng: random.Random) -> dict:
    """Runs a case; returns each device's worst error as a share of what is allowed."""
    module = random_module(cell, rng)
    own = cell == "gru_reset_before"
    batch, steps = rng.choice([1, 1, 2, 3, 8, 9]), rng.choice([1, 2, 5, 13] if own else [1, 2, 5, 20, 40])
    batched = rng.random() >= 0.2
    shape = ((batch, steps) if module.batch_first else (steps, batch)) if batched else (steps,)
    lengths = torch.randint(1, steps + 1, (batch,)) if batched and rng.random() < 0.4 else None
    names = ["h", "c"] if cell == "lstm" else ["h"]
    sizes = dict(h=module.proj_size or module.hidden_size, c=module.hidden_size)
    layers = module.num_layers * (1 + module.bidirectional)
    x = torch.randn(*shape, module.input_size)
    with_state = rng.random() < 0.6
    make = torch.randn if with_state else torch.zeros
    state = {f"{name}_0": make(layers, *([batch] if batched else []), sizes[name]) for name in names}
    weights = {key: value.detach() for key, value in module.named_parameters()}
    given = [key for key in ["output", *(f"{name}_n" for name in names)] if rng.random() < 0.7] or ["output"]
    problem = Problem(cell, module, x, state, lengths, batched)
    shapes = {key: value.shape for key, value in problem.results(torch.float32)[0].items()}
    cotangents = {key: torch.randn(shapes[key]) for key in given}
    expected, of_float32 = (problem.gradients(dtype, cotangents) for dtype in (torch.float64, torch.float32))
    if not with_state:
        expected = {key: value for key, value in expected.items() if key.removeprefix("grad_") not in state}

    prefix = rng.choice(["", "lstm.", "model.encoder.rnn."])
    model, source, result = (folder / f"{name}.safetensors" for name in ("model", "input", "output"))
    save_file({f"{prefix}{key}": value for key, value in weights.items()}, model)
    rows = {} if lengths is None else {"lengths": lengths}
    save_file({"input": x} | (state if with_state else {}) | rows
              | {f"grad_{key}": value for key, value in cotangents.items()}, source)
    widest = max(module.input_size, (1 + module.bidirectional) * sizes["h"] if module.num_layers > 1 else 0)
    allowed = module.num_layers * (steps * batch + widest + module.hidden_size + 2) * EPSILON
    case = f"{module} {tuple(x.shape)} lengths={lengths is not None} state={with_state} given={given}"
    worst = {}
    for device in devices:
        command = [GRADIENTS, "--model", model, "--input", source, "--output", result, "--device", device]
        command += ["--adapter", adapter] if adapter and device == "gpu" else []
        command += ["--nonlinearity", module.nonlinearity] if cell.startswith("rnn") else []
        command += ["--reset-before"] * own + ["--batch-first"] * module.batch_first
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{case} {device}: {done.stderr}"
        got = load_file(result)
        result.unlink()
        assert got.keys() == expected.keys(), f"{case} {device}: {got.keys()} for {expected.keys()}"
        shares = {}
        for key, value in expected.items():
            assert got[key].shape == value.shape, f"{case} {device} {key}: {got[key].shape} for {value.shape}"
            assert got[key].isfinite().all(), f"{case} {device} {key} is not finite"
            error = (got[key].double() - value).abs().max().item()
            of_pytorch = (of_float32[key].double() - value).abs().max().item()
            shares[key] = error / (allowed * value.abs().max().item() + 4 * of_pytorch + 2 * EPSILON)
        worst[device] = max((share, key) for key, share in shares.items())
        assert worst[device][0] <= 1, f"{case} {device}: {worst[device]} of what is allowed"
    print(f"ok  {case} {worst}", flush=True)
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cell", action="append", choices=CELLS)
    parser.add_argument("--device", action="append", choices=["gpu", "cpu"])
    parser.add_argument("--adapter")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    torch.manual_seed(arguments.seed)
    for cell in arguments.cell or CELLS:
        worst = {}
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(arguments.cases):
                case = run(cell, arguments.device or ["gpu", "cpu"], arguments.adapter, pathlib.Path(folder), rng)
                worst = {device: max(share, worst.get(device, (0.0, ""))) for device, share in case.items()}
        shares = ", ".join(f"{device} {share:.2f} ({key})" for device, (share, key) in worst.items())
        print(f"{cell}: {arguments.cases} cases agree with PyTorch {torch.__version__}; worst share allowed: {shares}")


if __name__ == "__main__":
    main()
