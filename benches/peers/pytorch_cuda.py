"""The GPU path beside cuDNN, through PyTorch, on the same NVIDIA GPU: the same shapes, in turn, as ratios.

    cargo build --release --example bench
    pip install torch
    python benches/peers/pytorch_cuda.py [--cell lstm|gru|rnn] [--clock device|gpu] [--rounds 3] [--repeat 50]
                                         [--shape T,B,I,H[,L[,D]] …] [--adapter NAME] [--strategy NAME] [--train [--step]]

Prints two tables in Markdown, f32 and f16: the median of each (of cuDNN with its tenth and ninetieth percentile), and
how many times as fast as each peer we are. cuDNN has f32 as such ("ieee") and with its products in TF32 ("tf32",
PyTorch's default, of about ten bits); claims are against "ieee". A CUDA graph takes the launches off the host, and is
the strong peer where steps are short. Our f16 is the weights only, with sums in f32; cuDNN's is the tensors too.

Data are on the device on both sides, and the input product is part of both. The clock "device" is the host's, from
submission to completion: of ours without the recording of the commands, of cuDNN with its launches. "gpu" is the GPU's
own: timestamps of ours, events of CUDA.

With --train, forward and backward with the gradients of everything are timed, in f32, as a program sees them: input and
the gradient of the output come from host memory, and all gradients go there, on both sides. With --step as well, the
gradients of the weights stay on the device, where a step of AdamW takes them; PyTorch's is the fused one.
"""

import argparse
import statistics
import sys
import time

import torch

import common

# The anchors that others publish figures of, I = H.
SHAPES = [
    "1000,1,128,128",
    "100,1,256,256",
    "150,16,256,256",
    "25,16,512,512",
    "25,64,512,512",
    "25,64,1024,1024",
    "50,4,1536,1536",
    "25,32,2048,2048",
]
KINDS = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
# Seconds that bring the GPU to its full clock rate.
WARM = 1.0


def use_tf32(on: bool) -> None:
    rnn = getattr(torch.backends.cudnn, "rnn", None)
    if rnn is not None:
        rnn.fp32_precision = "tf32" if on else "ieee"
    else:
        # PyTorch before 2.9.
        torch.backends.cudnn.allow_tf32 = on


def layer(cell: str, shape: tuple, dtype: torch.dtype):
    """A forward of one layer, with zeros as its first states, which would be made anew in every call otherwise."""
    t, b, i, h, layers, directions = shape
    module = KINDS[cell](i, h, layers, bidirectional=directions == 2).to("cuda", dtype).eval()
    module.flatten_parameters()
    x = torch.randn(t, b, i, device="cuda", dtype=dtype)
    zeros = torch.zeros(layers * directions, b, h, device="cuda", dtype=dtype)
    state = (zeros, zeros) if cell == "lstm" else zeros

    def call() -> None:
        with torch.inference_mode():
            module(x, state)

    return call


def training_pass(cell: str, shape: tuple, step: bool):
    """A forward and its backward, from host memory to host memory; with `step`, the weights change on the device."""
    t, b, i, h, layers, directions = shape
    module = KINDS[cell](i, h, layers, bidirectional=directions == 2).to("cuda")
    module.flatten_parameters()
    x, given = torch.randn(t, b, i), torch.randn(t, b, directions * h)
    zeros = [torch.zeros(layers * directions, b, h, device="cuda", requires_grad=True) for _ in range(1 + (cell == "lstm"))]
    parameters = list(module.parameters())
    optimiser = torch.optim.AdamW(parameters, fused=True)

    def call() -> None:
        on_device = x.to("cuda").requires_grad_()
        output, _ = module(on_device, tuple(zeros) if len(zeros) == 2 else zeros[0])
        output.detach().cpu()
        gradients = torch.autograd.grad(output, [on_device, *zeros, *parameters], given.to("cuda"))
        for gradient in gradients[: 1 + len(zeros)] if step else gradients:
            gradient.cpu()
        if step:
            for parameter, gradient in zip(parameters, gradients[1 + len(zeros) :]):
                parameter.grad = gradient
            optimiser.step()

    return call


def graph(call):
    """The call recorded, to be replayed by one launch. It reads the call's tensors: keep it while this is in use."""
    # Captures are preceded by a few calls on a stream of their own, as PyTorch asks for.
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        call()
    return recorded.replay


def peers_of(cell: str, shape: tuple, precision: str, train: bool, step: bool) -> dict:
    """By name: whether with TF32, and the call."""
    if train:
        call = training_pass(cell, shape, step)
        return {"cuDNN ieee": (False, call), "cuDNN tf32": (True, call)}
    if precision == "f16":
        call = layer(cell, shape, torch.float16)
        return {"cuDNN f16": (False, call), "cuDNN f16 in a graph": (False, graph(call))}
    call, peers = layer(cell, shape, torch.float32), {}
    for name, tf32 in [("ieee", False), ("tf32", True)]:
        # What is in force while a graph is recorded stays in it.
        use_tf32(tf32)
        peers[f"cuDNN {name}"] = (tf32, call)
        peers[f"cuDNN {name} in a graph"] = (tf32, graph(call))
    return peers


def by_host(call) -> float:
    """Milliseconds from submission to completion."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) * 1e3


def by_gpu(call) -> float:
    """Milliseconds between two events round the call."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


# The clock of the peers, and the field of our bench that is its like.
CLOCKS = {"device": (by_host, "device_ms"), "gpu": (by_gpu, "gpu_ms")}


def timed(call, clock, repeat: int) -> list:
    """The times of a warm call in milliseconds."""
    start = time.perf_counter()
    while time.perf_counter() - start < WARM:
        call()
        torch.cuda.synchronize()
    return [clock(call) for _ in range(repeat)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", choices=KINDS, default="lstm")
    parser.add_argument("--clock", choices=CLOCKS, default="device")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=50, help="calls a round, at least")
    parser.add_argument("--shape", action="append")
    parser.add_argument("--adapter", help="our GPU by part of its name, where there are several")
    parser.add_argument("--strategy", help="ours, in place of what it chooses itself")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--step", action="store_true", help="with --train: a step of AdamW on the device as well")
    arguments = parser.parse_args()
    if arguments.step and not arguments.train:
        parser.error("--step needs --train")
    if not (torch.cuda.is_available() and torch.backends.cudnn.is_available()):
        sys.exit("No GPU with CUDA and cuDNN that PyTorch can use: there is nothing to compare with here.")
    # A whole pass ends when its results have arrived on the host.
    clock, field = (by_host, "median_ms") if arguments.train else CLOCKS[arguments.clock]
    own_arguments = ["--device", "gpu", "--cell", arguments.cell]
    own_arguments += ["--adapter", arguments.adapter] if arguments.adapter else []
    own_arguments += ["--strategy", arguments.strategy] if arguments.strategy else []
    own_arguments += ["--train"] if arguments.train else []
    own_arguments += ["--step"] if arguments.step else []
    device = None
    for precision in ["f32"] if arguments.train else ["f32", "f16"]:
        measured = f"{arguments.clock} clock"
        if arguments.train:
            measured = "forward, backward and step" if arguments.step else "forward and backward, from and to the host"
        print(f"\n{arguments.cell}, {precision}, {measured}:\n")
        table = None
        for shape in map(common.sizes, arguments.shape or (common.SHAPES if arguments.train else SHAPES)):
            name = ",".join(map(str, shape))
            peers = peers_of(arguments.cell, shape, precision, arguments.train, arguments.step)
            table = table or common.Table("T,B,I,H,L,D", list(peers), spread=True)
            own, theirs = [], [[] for _ in peers]
            for _ in range(arguments.rounds):
                for (tf32, call), times in zip(peers.values(), theirs):
                    use_tf32(tf32)
                    times += timed(call, clock, arguments.repeat)
                # Its own warm-up is two calls, so that it is called for a while before its device clock starts.
                repeat = common.repeats(statistics.median(theirs[0]), arguments.repeat, WARM)
                line = common.ours(name, *own_arguments, "--precision", precision, "--repeat", repeat)
                if line[field] is None:
                    sys.exit(f"Our bench has no {field} on {line['device']}.")
                own.append(line[field])
                device = line["device"]
            table.row(name, own, theirs)
        table.end()
    versions = f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    print(f"\n{versions}. Theirs on {torch.cuda.get_device_name()}, ours on {device}.")


if __name__ == "__main__":
    main()
