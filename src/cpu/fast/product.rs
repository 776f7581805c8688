//! The one product of the vector path: rows of an input with a tile of packed weights.

use pulp::Simd;

/// How many of `rest` rows to multiply at a time: with G gates, twelve sums or fewer, so that they stay in the sixteen registers of
/// AVX2, and each weight that is loaded is used as often as that allows.
pub(super) fn group_size(gates: usize, rest: usize) -> usize {
    let most = match gates {
        1 => 8,
        3 => 4,
        _ => 3,
    };
    match rest.min(most) {
        5..=7 => 4,
        size => size,
    }
}

/// `sum[r][g] += Σ_k weights[k][g]·x[r][k]`, k in order. `weights` is `[K, G]` of vectors; each x has K elements.
///
/// The order of the sum does not depend on how many rows go together, so that a row's result does not either.
#[inline(always)]
pub(super) fn add_product<S: Simd, const G: usize, const R: usize>(
    simd: S,
    weights: &[S::f32s],
    x: [&[f32]; R],
    sums: &mut [[S::f32s; G]; R],
) {
    let (weights, _) = weights.as_chunks::<G>();
    let columns = weights.len();
    // One check for all of the loop.
    let x = x.map(|x| &x[..columns]);
    for k in 0..columns {
        for r in 0..R {
            let x = simd.splat_f32s(x[r][k]);
            for g in 0..G {
                sums[r][g] = simd.mul_add_e_f32s(weights[k][g], x, sums[r][g]);
            }
        }
    }
}
