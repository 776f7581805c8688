"""The GPU path beside burn's on the same adapter, both through wgpu: the same shapes, in turn, as ratios.

    cargo build --release --example bench
    cargo build --release --manifest-path benches/peers/burn/Cargo.toml
    python benches/peers/gpu.py [--rounds 3] [--burn PATH] [--shape T,B,I,H …]

A call is a forward with upload of the input and readback of the output on both sides.
"""

import argparse
import json
import math
import pathlib
import statistics
import subprocess

HERE = pathlib.Path(__file__).parent
BENCH = HERE.parent.parent / "target/release/examples/bench"
SHAPES = ["10,1,128,128", "100,1,64,256", "50,4,256,256", "25,16,256,256", "10,16,512,512", "5,64,512,512"]


def output(command: list) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--burn", type=pathlib.Path, default=HERE / "burn/target/release/peer-burn")
    parser.add_argument("--shape", action="append")
    arguments = parser.parse_args()
    ratios, adapter = [], None
    print("| T,B,I,H | ours, ms | burn, ms | times burn |\n|---|---|---|---|")
    for shape in arguments.shape or SHAPES:
        rounds = []
        for _ in range(arguments.rounds):
            line = json.loads(output([BENCH, "--device", "gpu", "--json", "--repeat", "5", "--shape", shape]))
            adapter = line["device"]
            rounds.append((line["median_ms"], float(output([arguments.burn, shape]).split()[-1])))
        ours, burn = (statistics.median(column) for column in zip(*rounds))
        ratios.append(burn / ours)
        print(f"| {shape} | {ours:.2f} | {burn:.2f} | {ratios[-1]:.1f} |", flush=True)
    print(f"| geometric mean | | | {math.exp(statistics.mean(map(math.log, ratios))):.1f} |\n\non {adapter}")


if __name__ == "__main__":
    main()
