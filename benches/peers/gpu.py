"""The GPU path beside burn's on the same adapter, both through wgpu: the same shapes, in turn, as ratios.

    cargo build --release --example bench
    cargo build --release --manifest-path benches/peers/burn/Cargo.toml
    python benches/peers/gpu.py [--cell lstm|gru|rnn] [--rounds 3] [--burn PATH] [--shape T,B,I,H …] [--train]

A call is a forward with upload of the input and readback of the output on our side, and with readback on burn's.
With --train it is a forward and its backward, with the gradients of everything and their readback on both sides.
"""

import argparse
import pathlib
import sys

import common

SHAPES = ["10,1,128,128", "100,1,64,256", "50,4,256,256", "25,16,256,256", "10,16,512,512", "5,64,512,512"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", choices=["lstm", "gru", "rnn"], default="lstm")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--burn", type=pathlib.Path, default=common.binary("burn"))
    parser.add_argument("--shape", action="append")
    parser.add_argument("--train", action="store_true")
    arguments = parser.parse_args()
    if not arguments.burn.exists():
        sys.exit(f"burn is not built: {common.how_to_build('burn')}")
    of_burn, of_ours = ["train"] * arguments.train, ["--train"] * arguments.train
    table, adapter = common.Table("T,B,I,H", ["burn"]), None
    for shape in arguments.shape or SHAPES:
        own, burn = [], []
        for _ in range(arguments.rounds):
            burn.append(common.theirs(arguments.burn, "wgpu", *of_burn, arguments.cell, shape))
            repeat = common.repeats(burn[-1])
            options = ["--device", "gpu", "--cell", arguments.cell, "--repeat", repeat, *of_ours]
            line = common.ours(shape, *options)
            own.append(line["median_ms"])
            adapter = line["device"]
        table.row(shape, own, [burn])
    table.end()
    print(f"\nburn {common.version('burn', 'burn')}, on {adapter}")


if __name__ == "__main__":
    main()
