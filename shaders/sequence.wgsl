// All steps of a chunk of one layer in one dispatch: a workgroup owns every unit of one row and direction, so that no
// step waits for another workgroup or for the start of a dispatch.
//
//   gh = W_hh[d]·h(s-1) + b_hh[d]        (h, c)(s) = cell(gx[s], gh, (h, c)(s-1))        for every step s of the chunk
//
// h stays in workgroup memory. An invocation owns one unit and a share of the sum over k: of the blocks of four k,
// invocation z takes blocks z, z + SPLIT, … The SPLIT partial sums are added in the order of z. If HELD, an invocation
// has at most four blocks and keeps their weights in registers for the whole chunk; otherwise it reads them again in
// every step. The CPU twin is cpu/reference/step.rs.
//
// Needs: `params`, `chunk`, `enter` from base/params.wgsl; `length_of`, `h_before`, `y_index` from base/rows.wgsl;
// `Gates`, `store_state` from cell/; `BLOCK` from weights/blocks.wgsl; `h`, `y`, `Pending`, `input_gates`,
// `load_pending`, `apply_cell`, `keep_state`, `first_recurrent_weight`, `weights_at` from step/recurrence.wgsl;
// `leave_h`, `leave_padding` from step/leave_h.wgsl.

override UNITS: u32; // at least H
override SPLIT: u32;
override HELD: bool;
const ROWS_OF_LINE = 32768u; // rows per line of the grid

var<workgroup> h_row: array<f32, UNITS>;             // [H], padded with zeros
var<workgroup> partial: array<Gates, SPLIT * UNITS>; // [SPLIT, UNITS]

// The weights of one unit for four consecutive k.
struct Block {
    w0: Gates,
    w1: Gates,
    w2: Gates,
    w3: Gates,
}

fn weights_or_zero(d: u32, u: u32, k: u32) -> Gates {
    if (u < params.hidden_size && k < params.hidden_size) {
        return weights_at(first_recurrent_weight(d, u) + k * BLOCK);
    }
    return Gates();
}

fn load_block(d: u32, u: u32, block: u32) -> Block {
    let k = 4u * block;
    return Block(
        weights_or_zero(d, u, k),
        weights_or_zero(d, u, k + 1u),
        weights_or_zero(d, u, k + 2u),
        weights_or_zero(d, u, k + 3u),
    );
}

fn add_block(sum: Gates, weights: Block, block: u32) -> Gates {
    // Past the last block there is nothing to add, and h_row ends.
    if (4u * block >= UNITS) {
        return sum;
    }
    let k = 4u * block;
    let half = sum + h_row[k] * weights.w0 + h_row[k + 1u] * weights.w1;
    return half + h_row[k + 2u] * weights.w2 + h_row[k + 3u] * weights.w3;
}

// Adds a block whose weights are read from the buffer; `own` is the start of the unit's weights. All four loads
// overlap, except in a workgroup of 1,024: there, an NVIDIA GPU has 64 registers per invocation, enough for two at a
// time.
fn add_whole_block(sum: Gates, own: u32, block: u32) -> Gates {
    let k = 4u * block;
    let at = own + k * BLOCK;
    if (UNITS * SPLIT <= 512u) {
        let weights = Block(
            weights_at(at),
            weights_at(at + BLOCK),
            weights_at(at + 2u * BLOCK),
            weights_at(at + 3u * BLOCK),
        );
        return add_block(sum, weights, block);
    }
    let w0 = weights_at(at);
    let w1 = weights_at(at + BLOCK);
    let half = sum + h_row[k] * w0 + h_row[k + 1u] * w1;
    let w2 = weights_at(at + 2u * BLOCK);
    let w3 = weights_at(at + 3u * BLOCK);
    return half + h_row[k + 2u] * w2 + h_row[k + 3u] * w3;
}

@compute @workgroup_size(UNITS, 1, SPLIT)
fn sequence(
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(workgroup_id) group: vec3<u32>,
) {
    let d = enter(group.z);
    let b = group.y * ROWS_OF_LINE + group.x;
    if (b >= params.batch) {
        return;
    }
    let u = local.x;
    let z = local.z;
    let first = params.chunks[0].first_step;
    let finishes = z == 0u && u < params.hidden_size;
    // Steps past the row's end are padding, which needs no sums.
    let steps = clamp(length_of(b), first, first + params.chunks[0].steps) - first;

    var w0 = Block();
    var w1 = Block();
    var w2 = Block();
    var w3 = Block();
    if (HELD) {
        w0 = load_block(d, u, z);
        w1 = load_block(d, u, z + SPLIT);
        w2 = load_block(d, u, z + 2u * SPLIT);
        w3 = load_block(d, u, z + 3u * SPLIT);
    }
    var own_h = 0.0;
    if (z == 0u) {
        if (u < params.hidden_size) {
            own_h = h[h_before(first, d, b, u)];
        }
        h_row[u] = own_h;
    }
    var pending: Pending;
    if (finishes && steps > 0u) {
        pending = load_pending(first, 0u, d, b, u, own_h);
    }
    workgroupBarrier();

    for (var i = 0u; i < steps; i++) {
        // Loaded while the sums are computed. With held weights, the sums are ready sooner than a load arrives, so it
        // is for the next step.
        let ahead = select(i, i + 1u, HELD);
        var loaded = Gates();
        if (finishes && ahead < steps) {
            loaded = input_gates(ahead, d, b, u);
        }
        var sum = Gates();
        if (HELD) {
            sum = add_block(sum, w0, z);
            sum = add_block(sum, w1, z + SPLIT);
            sum = add_block(sum, w2, z + 2u * SPLIT);
            sum = add_block(sum, w3, z + 3u * SPLIT);
        } else {
            // A unit past the last one reads the last one's weights and discards the sum.
            let own = first_recurrent_weight(d, min(u, params.hidden_size - 1u));
            let whole = params.hidden_size / 4u;
            for (var first_block = 0u; first_block < whole; first_block += SPLIT) {
                if (first_block + z < whole) {
                    sum = add_whole_block(sum, own, first_block + z);
                }
            }
            if (4u * whole < params.hidden_size && whole % SPLIT == z) {
                sum = add_block(sum, load_block(d, u, whole), whole);
            }
        }
        partial[index] = sum;
        workgroupBarrier();
        if (finishes) {
            for (var other = 1u; other < SPLIT; other++) {
                sum += partial[other * UNITS + u];
            }
            if (!HELD) {
                pending.gx = loaded;
            }
            let state = apply_cell(pending, sum);
            y[y_index(first + i, d, b, u)] = state.h;
            if (params.c_stride_s > 0u) {
                store_state(state, first + i, d, b, u);
            }
            h_row[u] = state.h;
            pending.gx = loaded;
            pending.old = state;
        }
        workgroupBarrier();
    }
    if (finishes && steps > 0u) {
        // State that is carried within the chunk need not be stored before its end.
        let last = first + steps - 1u;
        if (params.c_stride_s == 0u) {
            store_state(pending.old, last, d, b, u);
        }
        leave_h(last, d, b, u, pending.old.h);
    }
    if (finishes) {
        for (var i = steps; i < chunk.steps; i++) {
            keep_state(first + i, d, b, u);
            leave_padding(first + i, d, b, u);
        }
    }
}
