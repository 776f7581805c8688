"""Runs the `infer` example on random LSTMs, GRUs and RNNs and compares its output files with PyTorch's own results.

    cargo build --release --example infer
    python tests/against_pytorch.py --cases 50 --device gpu --device cpu

Needs torch and safetensors. Fails on the first case whose error exceeds 2e-5 + 1e-4·|x|, and prints the case.
"""

import argparse
import pathlib
import random
import subprocess
import tempfile

import torch
from safetensors.torch import load_file, save_file
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

INFER = pathlib.Path(__file__).parent.parent / "target/release/examples/infer"
DTYPES = [torch.float32, torch.float32, torch.float64, torch.float16, torch.bfloat16]

# Shapes of published models, then random ones.
PUBLISHED = [
    (torch.nn.LSTM, dict(input_size=40, hidden_size=256, num_layers=3)),
    (torch.nn.LSTM, dict(input_size=60, hidden_size=128, num_layers=4, bidirectional=True)),
    (torch.nn.LSTM, dict(input_size=100, hidden_size=20, num_layers=4)),
]


def random_case(rng: random.Random) -> tuple[type, dict]:
    kind = rng.choice([torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
    arguments = dict(
        input_size=rng.choice([1, 2, 3, 16, 17, 40, 65, 100]),
        hidden_size=rng.choice([1, 2, 7, 8, 16, 31, 64, 65, 130]),
        num_layers=rng.choice([1, 1, 2, 3, 5]),
        bias=rng.random() < 0.7,
        bidirectional=rng.random() < 0.5,
        batch_first=rng.random() < 0.4,
    )
    if kind is torch.nn.RNN:
        arguments["nonlinearity"] = rng.choice(["tanh", "relu"])
    if kind is torch.nn.LSTM and arguments["hidden_size"] > 1 and rng.random() < 0.3:
        arguments["proj_size"] = rng.randrange(1, arguments["hidden_size"])
    return kind, arguments


def run(case: tuple[type, dict], devices: list[str], folder: pathlib.Path, rng: random.Random) -> None:
    kind, arguments = case
    names = ["h", "c"] if kind is torch.nn.LSTM else ["h"]
    dtype = rng.choice(DTYPES)
    prefix = rng.choice(["", "lstm.", "model.encoder.rnn."])
    # The file's rounding is part of the model, so the reference uses the rounded weights.
    module = kind(**arguments).to(dtype).double().eval()
    batch, steps = rng.choice([1, 1, 2, 3, 8, 9, 33]), rng.choice([1, 2, 5, 20, 60])
    shape = (batch, steps) if module.batch_first else (steps, batch)
    if rng.random() < 0.2:
        shape = (steps,)
    x = torch.randn(*shape, module.input_size)
    state_batch = (batch,) if len(shape) == 2 else ()
    sizes = dict(h=module.proj_size or module.hidden_size, c=module.hidden_size)
    layers = module.num_layers * (1 + module.bidirectional)
    state = [torch.randn(layers, *state_batch, sizes[name]) for name in names] if rng.random() < 0.6 else None
    with torch.no_grad():
        doubled = [s.double() for s in state] if state else None
        packed, lengths = x.double(), None
        if len(shape) == 2 and rng.random() < 0.4:
            lengths = torch.randint(1, steps + 1, (batch,))
            packed = pack_padded_sequence(packed, lengths, module.batch_first, enforce_sorted=False)
        output, last = module(packed, doubled and (tuple(doubled) if len(names) == 2 else doubled[0]))
        if lengths is not None:
            output, _ = pad_packed_sequence(output, module.batch_first, total_length=steps)
    expected_results = {"output": output}
    expected_results |= {f"{name}_n": value for name, value in zip(names, last if len(names) == 2 else [last])}

    model, source, result = (folder / f"{name}.safetensors" for name in ("model", "input", "output"))
    weights = {f"{prefix}{key}": value.to(dtype) for key, value in module.state_dict().items()}
    save_file(weights | {"head.weight": torch.zeros(3, 3)}, model)
    rows = {} if lengths is None else {"lengths": lengths}
    states = {f"{name}_0": value for name, value in zip(names, state)} if state else {}
    save_file({"input": x} | rows | states, source)
    for device in devices:
        command = [INFER, "--model", model, "--input", source, "--output", result, "--device", device]
        if "nonlinearity" in arguments:
            command += ["--nonlinearity", arguments["nonlinearity"]]
        command += ["--prefix", prefix] * (rng.random() < 0.7) + ["--batch-first"] * module.batch_first
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{case} {device}: {done.stderr}"
        got = load_file(result)
        result.unlink()
        assert got.keys() == expected_results.keys(), f"{case} {device}: {got.keys()}"
        for key, expected in expected_results.items():
            assert got[key].shape == expected.shape, f"{case} {device} {key}: {got[key].shape} for {expected.shape}"
            error = (got[key].double() - expected).abs()
            worst = (error / (2e-5 + 1e-4 * expected.abs())).max().item() if error.numel() else 0.0
            assert worst <= 1, f"{case} {tuple(x.shape)} {device} {key}: {worst:.2f} of the tolerance"
    options = f"{dtype} state={bool(state)} lengths={lengths is not None}"
    print(f"ok  {kind.__name__} {arguments} {tuple(x.shape)} {options}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", action="append", choices=["auto", "gpu", "cpu"])
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    torch.manual_seed(arguments.seed)
    cases = PUBLISHED + [random_case(rng) for _ in range(arguments.cases)]
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            run(case, arguments.device or ["gpu", "cpu"], pathlib.Path(folder), rng)
    print(f"{len(cases)} cases agree with PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
