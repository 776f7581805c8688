//! The one product of the vector path: rows of an input with tiles of packed weights.

use pulp::Simd;

/// How many of `rest` rows to multiply at a time: with the four gates of an LSTM, twelve sums stay in the sixteen registers of AVX2,
/// and each weight that is loaded is used three times. A row is not left alone where two groups can be even: few sums wait for
/// each other.
pub(super) fn rows_at_a_time(rest: usize) -> usize {
    match rest {
        4 => 2,
        _ => rest.min(3),
    }
}

/// How many tiles of G gates to multiply at a time with so many rows: more than one where there would be few sums.
pub(super) fn tiles_at_a_time(gates: usize, rows: usize, rest: usize) -> usize {
    match (gates, rows) {
        (1, _) if rest >= 4 => 4,
        (3.., 1) if rest >= 3 => 3,
        _ => 1,
    }
}

/// `sum[t][r][g] += Σ_k weights[t][k][g]·x[r][k]`, k in order, of T tiles and R rows. The weights of a tile are `[K, G]` of vectors;
/// each x has K elements.
///
/// The order of the sum does not depend on how many rows or tiles go together, so that a row's result does not either.
#[inline(always)]
pub(super) fn add_product<S: Simd, const G: usize, const R: usize, const T: usize>(
    simd: S,
    weights: [&[S::f32s]; T],
    x: [&[f32]; R],
    sums: &mut [[[S::f32s; G]; R]; T],
) {
    let weights = weights.map(|tile| tile.as_chunks::<G>().0);
    let columns = weights[0].len();
    // One check for all of the loop.
    let (weights, x) = (weights.map(|tile| &tile[..columns]), x.map(|x| &x[..columns]));
    for k in 0..columns {
        // The inputs stay in registers, beside the sums and one weight: sixteen in all. In the other order there is one too many.
        let x: [S::f32s; R] = std::array::from_fn(|r| simd.splat_f32s(x[r][k]));
        for t in 0..T {
            for g in 0..G {
                let weight = weights[t][k][g];
                for r in 0..R {
                    sums[t][r][g] = simd.mul_add_e_f32s(weight, x[r], sums[t][r][g]);
                }
            }
        }
    }
}
