#!/bin/sh
# Compares the bits that two commits compute, over every kernel, cell, precision and tile (src/gpu/bits.rs).
#
#   tests/bits.sh OLD [NEW]        NEW defaults to the working tree
#
# Prints the results that differ, and those that exist in only one of the two. Exits with 1 if a result of both differs.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'git worktree remove --force "$work/tree" 2>/dev/null || true; rm -rf "$work"' EXIT

# Prints the hashes of the tree in the current folder; the columns are the case, its workgroup and the hash.
hashes() {
    WGPU_RNN_REQUIRE_GPU=1 cargo test --quiet --lib gpu::bits -- --ignored --nocapture --test-threads 1 |
        grep -E '^(soft|hard)ware' | sort
}

of_commit() {
    git worktree add --quiet --detach "$work/tree" "$1"
    (cd "$work/tree" && CARGO_TARGET_DIR="$work/target" hashes)
    git worktree remove --force "$work/tree"
}

of_commit "$1" >"$work/old"
if [ $# -gt 1 ]; then of_commit "$2" >"$work/new"; else hashes >"$work/new"; fi

# Compares by case: a workgroup may change and still give the same bits.
awk -F' [|] ' -v old="$work/old" '
    BEGIN {
        while ((getline line < old) > 0) {
            split(line, of, " [|] ")
            key = of[1] " | " of[2] " | " of[3]
            hash[key] = of[5]
            tile[key] = of[4]
        }
    }
    {
        key = $1 " | " $2 " | " $3
        if (!(key in hash)) { print "only new: " key; next }
        both++
        if (hash[key] != $5) { differ++; print "differs: " key " | " tile[key] " -> " $4 }
        delete hash[key]
    }
    END {
        for (key in hash) print "only old: " key
        printf "%d results of both, %d differ\n", both, differ
        exit differ > 0
    }
' "$work/new"
