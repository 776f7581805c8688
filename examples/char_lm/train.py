"""The training of the char_lm example in PyTorch: the same text, first weights, windows, schedule and optimiser.

    cargo run --release --example char_lm -- --export-initial initial.safetensors
    cargo run --release --example char_lm -- --device cpu
    python examples/char_lm/train.py initial.safetensors --compare char_lm_checkpoint.safetensors

The first command takes the settings, such as --steps 500 --kind gru, and writes them to the file; give the second one
the same. Prints the time of the steps, without measurements, and the same losses as the example.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

BITS = 1 / math.log(2)


class Model(nn.Module):
    def __init__(self, alphabet, settings):
        super().__init__()
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[settings["kind"]]
        self.embedding = nn.Embedding(alphabet, settings["embedding"])
        self.layer = kind(settings["embedding"], settings["hidden"], settings["layers"], dropout=settings["dropout"])
        self.head = nn.Linear(settings["hidden"], alphabet)

    def forward(self, symbols, state=None):
        """[T, B] symbols to the logits [T, B, V], and the state after step T."""
        out, state = self.layer(self.embedding(symbols), state)
        return self.head(out), state


def load(path):
    """The training and the validation text as symbols, and the size of the alphabet."""
    text = path.read_text(encoding="utf-8")
    number = {character: at for at, character in enumerate(sorted(set(text)))}
    symbols = torch.tensor([number[character] for character in text])
    twentieth = len(symbols) // 20
    end = len(symbols) - 2 * twentieth
    return symbols[:end], symbols[end - 1 : end + twentieth], len(number)


def learning_rate(settings, step):
    cosine = (1 + math.cos(math.pi * step / settings["steps"])) / 2
    return settings["lr"] * min((step + 1) / 100, 1) * (0.05 + 0.95 * cosine)


@torch.no_grad()
def measure(model, symbols):
    """Bits per character of a text, read in one row."""
    model.eval()
    logits, _ = model(symbols[:-1, None])
    model.train()
    return nn.functional.cross_entropy(logits.flatten(0, 1), symbols[1:]).item() * BITS


def detached(state):
    return tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()


def train(model, settings, training, beginnings):
    """All steps. Returns the losses in bits per character, and the seconds that they took."""
    batch, window, length = settings["batch"], settings["window"], len(training)
    epoch = length // batch // window
    optimiser = torch.optim.AdamW(model.parameters())
    rows = torch.arange(batch, device=training.device) * (length // batch)
    span = torch.arange(window + 1, device=training.device)[:, None]
    losses, state = [], None
    start = time.perf_counter()
    for step in range(settings["steps"]):
        if step % epoch == 0:
            state = None
        read = training[(beginnings[step // epoch] + step % epoch * window + rows + span) % length]
        logits, state = model(read[:-1], state)
        state = detached(state)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), read[1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings["clip"])
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(settings, step)
        optimiser.step()
        losses.append(loss.item() * BITS)
        if (step + 1) % settings["every"] == 0:
            recent = losses[-50:]
            print(f"step {step + 1:5}: training {sum(recent) / len(recent):.3f} bits per character", flush=True)
    return losses, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("initial", type=Path, help="what --export-initial wrote")
    parser.add_argument("--text", type=Path, default=Path(__file__).parent / "shakespeare.txt")
    parser.add_argument("--compare", type=Path, help="a checkpoint of the example, whose losses to compare with")
    parser.add_argument("--threads", type=int, help="CPU threads [default: PyTorch's]")
    parser.add_argument("--device", default="cpu", help="PyTorch's name of it, such as cuda [default: cpu]")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)

    with safe_open(args.initial, "pt") as file:
        settings = json.loads(file.metadata()["settings"])
        weights = {name: file.get_tensor(name) for name in file.keys()}
    beginnings = weights.pop("beginnings").long()
    training, validation, alphabet = load(args.text)
    model = Model(alphabet, settings)
    model.load_state_dict(weights)
    model.to(args.device)
    training, validation = training.to(args.device), validation.to(args.device)
    losses, seconds = train(model, settings, training, beginnings)
    recent = losses[-50:]
    where = f"{torch.get_num_threads()} threads" if args.device == "cpu" else args.device
    print(f"{len(losses)} steps in {seconds:.1f} s with {where}")
    print(f"training {sum(recent) / len(recent):.3f}, validation {measure(model, validation):.3f} bits per character")
    if args.compare:
        with safe_open(args.compare, "pt") as file:
            ours = file.get_tensor("record.losses").tolist()
        for count in (1, 10, 100, 1000, len(losses)):
            if count <= min(len(losses), len(ours)):
                most = max(abs(a - b) for a, b in zip(losses[:count], ours[:count]))
                print(f"largest difference of a loss within {count:5} steps: {most:.1e} bits per character")


if __name__ == "__main__":
    main()
