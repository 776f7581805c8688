//! The one product of the vector path: rows of an input with tiles of packed weights.

use pulp::Simd;

/// How many of `rest` rows to multiply at a time: with G gates, twelve sums or fewer, so that they stay in the sixteen registers of
/// AVX2, and each weight that is loaded is used as often as that allows. A row is not left alone where two groups can be even:
/// few sums wait for each other.
pub(super) fn rows_at_a_time(gates: usize, rest: usize) -> usize {
    match (gates, rest) {
        (1, 8..) => 8,
        (1, 4..) | (3, 4 | 6..) => 4,
        (3, 5) | (1 | 3, 3) => 3,
        (4, 3 | 5..) => 3,
        (_, 2..) => 2,
        _ => 1,
    }
}

/// How many tiles a single row takes at a time, to have as many sums as several rows have.
pub(super) const TILES_OF_A_ROW: usize = 3;

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
        // What there is less of stays in registers, beside the sums and one more: sixteen in all.
        if R <= G {
            let x: [S::f32s; R] = std::array::from_fn(|r| simd.splat_f32s(x[r][k]));
            for t in 0..T {
                for g in 0..G {
                    let weight = weights[t][k][g];
                    for r in 0..R {
                        sums[t][r][g] = simd.mul_add_e_f32s(weight, x[r], sums[t][r][g]);
                    }
                }
            }
        } else {
            for r in 0..R {
                let x = simd.splat_f32s(x[r][k]);
                for t in 0..T {
                    for g in 0..G {
                        sums[t][r][g] = simd.mul_add_e_f32s(weights[t][k][g], x, sums[t][r][g]);
                    }
                }
            }
        }
    }
}
