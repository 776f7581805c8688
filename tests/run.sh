#!/bin/sh
# Runs all tests, those of the GPU path included, on a machine with or without a GPU.
#
#   tests/run.sh [arguments of cargo test]
#
# The GPU tests need any adapter that wgpu finds. Where there is none, this installs Mesa's software Vulkan driver
# (lavapipe) and the Vulkan loader with the system's package manager, and says so. Then it runs cargo test, in which a
# GPU test without an adapter is a failure, and the suite once more with the tiles of a real GPU, which a software
# adapter does not choose by itself.
set -eu
cd "$(dirname "$0")/.."

have_adapter() { cargo run --quiet --example adapters; }

# As root as it is, else through sudo where there is one.
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

echo "== GPU adapters"
if ! have_adapter; then
    echo "== none to run on: installing Mesa's software Vulkan driver"
    if command -v apt-get >/dev/null; then
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            mesa-vulkan-drivers libvulkan1
    elif command -v dnf >/dev/null; then
        as_root dnf install -y -q mesa-vulkan-drivers vulkan-loader
    elif command -v pacman >/dev/null; then
        as_root pacman -S --noconfirm --needed vulkan-swrast vulkan-icd-loader
    else
        echo "No package manager known here (apt-get, dnf, pacman): install a Vulkan driver, such as Mesa's lavapipe." >&2
        exit 1
    fi
    have_adapter || { echo "Still no adapter: see the message above." >&2; exit 1; }
fi

echo "== tests"
WGPU_RNN_REQUIRE_GPU=1 cargo test "$@"
echo "== tests with the tiles of a real GPU"
WGPU_RNN_REQUIRE_GPU=1 WGPU_RNN_TEST_TILES=hardware exec cargo test --test suite "$@"
