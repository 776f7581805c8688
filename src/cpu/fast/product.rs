//! The one product of the vector path: rows of an input with tiles of packed weights.

use pulp::Simd;

/// The most rows that there is code for.
const MOST_ROWS: usize = 6;

/// How many of `rest` rows to multiply at a time with T tiles of G gates: as many as leave all sums in registers, beside a value of
/// each row and one weight; each weight that is loaded is used for all of them. The groups are even: few sums wait for each other.
pub(super) fn rows_at_a_time<S: Simd>(rest: usize, gates: usize, tiles: usize) -> usize {
    let most = MOST_ROWS.min((S::REGISTER_COUNT - 1) / (tiles * gates + 1));
    rest.div_ceil(rest.div_ceil(most))
}

/// How many tiles of G gates to multiply at a time with so many rows: more than one where there would be few sums.
pub(super) fn tiles_at_a_time(gates: usize, rows: usize, rest: usize) -> usize {
    match (gates, rows) {
        (1, _) if rest >= 4 => 4,
        (2.., 1) if rest >= 3 => 3,
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

/// Does `$work` with the numbers of rows and tiles that go together as constants R and T, so that the compiler keeps their sums in
/// registers. There is no code for more than a machine has registers for.
macro_rules! with_sizes {
    ($rows:expr, $tiles:expr, $gates:ident, $simd:ident, <$r:ident, $t:ident> $work:expr) => {
        with_sizes!(@ ($rows, $tiles), $gates, $simd, <$r, $t> $work,
            (6, 4) (5, 4) (4, 4) (3, 4) (2, 4) (1, 4) (1, 3) (6, 1) (5, 1) (4, 1) (3, 1) (2, 1))
    };
    (@ $sizes:expr, $gates:ident, $simd:ident, <$r:ident, $t:ident> $work:expr, $(($rows:literal, $tiles:literal))+) => {
        match $sizes {
            $(($rows, $tiles) if $rows * ($tiles * $gates + 1) < $simd::REGISTER_COUNT => {
                const $r: usize = $rows;
                const $t: usize = $tiles;
                $work
            })+
            _ => {
                const $r: usize = 1;
                const $t: usize = 1;
                $work
            }
        }
    };
}
pub(super) use with_sizes;
