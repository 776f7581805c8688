"""What the scripts of this folder share: calls of our bench and of the peers' binaries, and the table of ratios."""

import json
import math
import pathlib
import re
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
BENCH = HERE.parent.parent / "target/release/examples/bench"
SECONDS = 0.4
# The shapes of forwards on the CPU, and of training anywhere.
SHAPES = [
    "10,3,100,20,4,1",
    "1,1,128,128,1,1",
    "100,1,64,256,1,1",
    "150,16,256,256,1,1",
    "25,16,512,512,1,1",
    "25,64,512,512,1,1",
    "50,4,1536,1536,1,1",
    "100,8,128,256,2,2",
]


def sizes(shape: str) -> tuple:
    """T,B,I,H[,L[,D]] as six numbers."""
    numbers = [int(number) for number in shape.split(",")]
    if not 4 <= len(numbers) <= 6:
        raise ValueError(f"{shape} is not T,B,I,H[,L[,D]]")
    return tuple(numbers + [1] * (6 - len(numbers)))


def ours(shape: str, *arguments: object) -> dict:
    """The line of our bench on a shape. What it has to complain about is seen on stderr."""
    if not BENCH.exists():
        sys.exit("Our bench is not built: cargo build --release --example bench")
    command = [BENCH, "--json", "--shape", shape, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def repeats(peer_ms: float, least: int = 5, seconds: float = SECONDS) -> int:
    """How often we are called, to be timed for about as long as the peer."""
    return max(least, int(seconds * 1e3 / peer_ms))


def binary(peer: str) -> pathlib.Path:
    return HERE / peer / f"target/release/peer-{peer}"


def how_to_build(peer: str) -> str:
    return f"cargo build --release --manifest-path benches/peers/{peer}/Cargo.toml"


def theirs(program: pathlib.Path, *arguments: str) -> float:
    """The median in milliseconds that a peer's binary prints for one shape."""
    run = subprocess.run([program, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return float(run.stdout.split()[-1])


def version(peer: str, package: str) -> str:
    """What the peer's lock file says."""
    return re.search(rf'^name = "{package}"\nversion = "(.+)"$', (HERE / peer / "Cargo.lock").read_text(), re.M)[1]


def geometric_mean(ratios: list) -> float:
    return math.exp(statistics.mean(map(math.log, ratios)))


class Table:
    """Markdown, printed as it grows: each median in milliseconds, and how many times as fast as each peer we are."""

    def __init__(self, shape: str, peers: list, spread: bool = False):
        """With `spread`, peers' cells have the tenth and the ninetieth percentile as well."""
        self.ratios, self.spread = [[] for _ in peers], spread
        self.line(shape, "ours, ms", *(f"{peer}, ms" for peer in peers), *(f"times {peer}" for peer in peers))
        print("|---" * (2 + 2 * len(peers)) + "|")

    def row(self, shape: str, own: list, peers: list) -> None:
        """Times in milliseconds; those of a peer that cannot do the shape are an empty list."""
        middle, ratios = statistics.median(own), []
        for times, column in zip(peers, self.ratios):
            ratio = statistics.median(times) / middle if times else None
            ratios.append(f"{ratio:.2f}" if times else "–")
            column += [ratio] if times else []
        self.line(shape, f"{middle:.3f}", *map(self.cell, peers), *ratios)

    def end(self) -> None:
        means = (f"{geometric_mean(column):.2f}" if column else "–" for column in self.ratios)
        self.line("geometric mean", "", *("" for _ in self.ratios), *means)

    def cell(self, times: list) -> str:
        if not times:
            return "–"
        middle = f"{statistics.median(times):.3f}"
        if not self.spread:
            return middle
        tenths = statistics.quantiles(times, n=10, method="inclusive")
        return f"{middle} ({tenths[0]:.3f} to {tenths[-1]:.3f})"

    @staticmethod
    def line(*cells: str) -> None:
        print("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|", flush=True)
