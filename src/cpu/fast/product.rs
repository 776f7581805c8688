//! The product of the vector path: rows of an input times tiles of packed weights.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::pack::Packed;

/// The largest number of rows with specialized code.
const MOST_ROWS: usize = 6;
/// The rows of [`AddRows`] that are multiplied with all weights before others.
const BLOCK_ROWS: usize = 96;

/// Returns the number of rows out of `rest` to multiply at a time with T tiles of G gates: as many as leave all sums in
/// registers next to one value per row and one weight. Each weight that is loaded serves all of these rows. Groups have
/// about equal sizes, because the additions of a small group wait for each other.
pub(super) fn rows_at_a_time<S: Simd>(rest: usize, gates: usize, tiles: usize) -> usize {
    let most = MOST_ROWS.min((S::REGISTER_COUNT - 1) / (tiles * gates + 1));
    rest.div_ceil(rest.div_ceil(most))
}

/// Returns the number of tiles of G gates to multiply at a time with `rows` rows: more than one if there would be few
/// sums.
pub(super) fn tiles_at_a_time(gates: usize, rows: usize, rest: usize) -> usize {
    match (gates, rows) {
        (1, _) if rest >= 4 => 4,
        (2.., 1) if rest >= 3 => 3,
        _ => 1,
    }
}

/// Adds a product to the sums: `sum[t][r][g] += Σ_k weights[t][k][g]·x[r][k]`, in the order of k, for T tiles and R
/// rows. The weights of a tile are `[K, G]` of vectors; each x has K elements.
///
/// The order of the sum does not depend on the number of rows or tiles processed together, so neither does a row's
/// result.
#[inline(always)]
pub(super) fn add_product<S: Simd, const G: usize, const R: usize, const T: usize>(
    simd: S,
    weights: [&[S::f32s]; T],
    mut x: [&[f32]; R],
    sums: &mut [[[S::f32s; G]; R]; T],
) {
    // One bounds check for the whole loop. Loops and no closures: the compiler may leave those as functions of their
    // own, which have no vector instructions, and of slices that they return it knows no length.
    let columns = weights[0].len() / G;
    let mut tiles: [&[[S::f32s; G]]; T] = [&[]; T];
    for (tile, weights) in tiles.iter_mut().zip(weights) {
        *tile = &weights.as_chunks().0[..columns];
    }
    for x in &mut x {
        *x = &x[..columns];
    }
    for k in 0..columns {
        // The inputs stay in registers next to the sums and one weight: for three rows of an LSTM exactly the sixteen
        // registers of AVX2. The other order of loops would need one more.
        let mut values = [simd.splat_f32s(0.0); R];
        for (value, x) in values.iter_mut().zip(x) {
            *value = simd.splat_f32s(x[k]);
        }
        for t in 0..T {
            for g in 0..G {
                let weight = tiles[t][k][g];
                for r in 0..R {
                    sums[t][r][g] = simd.mul_add_e_f32s(weight, values[r], sums[t][r][g]);
                }
            }
        }
    }
}

/// [`add_product`] to sums in memory, as a function of its own: within a large one, the compiler does not keep the sums
/// of all sizes in registers.
struct AddProduct<'a, const G: usize, const R: usize, const T: usize> {
    weights: [&'a [f32]; T],
    x: [&'a [f32]; R],
    /// `[T, R, G]` of vectors.
    sums: &'a mut [f32],
}

impl<const G: usize, const R: usize, const T: usize> WithSimd for AddProduct<'_, G, R, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let all = S::as_mut_simd_f32s(self.sums).0;
        let mut weights: [&[S::f32s]; T] = [&[]; T];
        for (weights, tile) in weights.iter_mut().zip(self.weights) {
            *weights = S::as_simd_f32s(tile).0;
        }
        let mut sums = [[[simd.splat_f32s(0.0); G]; R]; T];
        for (sum, from) in sums.as_flattened_mut().as_flattened_mut().iter_mut().zip(&*all) {
            *sum = *from;
        }
        add_product(simd, weights, self.x, &mut sums);
        for (to, sum) in all.iter_mut().zip(sums.as_flattened().as_flattened()) {
            *to = *sum;
        }
    }
}

/// Expands `$work` with the numbers of rows and tiles that are processed together as constants R and T, so that the
/// compiler keeps their sums in registers. No code is generated for sizes that need more registers than the machine
/// has.
macro_rules! with_sizes {
    ($rows:expr, $tiles:expr, $gates:ident, $simd:ident, <$r:ident, $t:ident> $work:expr) => {
        with_sizes!(@ ($rows, $tiles), $gates, $simd, <$r, $t> $work,
            (6, 4) (5, 4) (4, 4) (3, 4) (2, 4) (1, 4) (1, 3) (6, 1) (5, 1) (4, 1) (3, 1) (2, 1))
    };
    (@ $sizes:expr, $gates:ident, $simd:ident, <$r:ident, $t:ident> $work:expr,
        $(($rows:literal, $tiles:literal))+) => {
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

/// Adds the product of some tiles of one gate to `sums`, `[rows, tiles]` of vectors. `x` has `stride` elements from row
/// to row.
#[inline(always)]
pub(super) fn add_tiles<S: Simd>(
    simd: S,
    packed: &Packed,
    tiles: Range<usize>,
    rows: &[usize],
    (x, stride): (&[f32], usize),
    sums: &mut [f32],
) {
    const ONE: usize = 1;
    let (sums, _) = S::as_mut_simd_f32s(sums);
    let mut t = 0;
    while t < tiles.len() {
        let count = tiles_at_a_time(ONE, rows.len(), tiles.len() - t);
        let mut rest = rows;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rows_at_a_time::<S>(rest.len(), ONE, count));
            with_sizes!(now.len(), count, ONE, S, <R, T> {
                let x: [&[f32]; R] = std::array::from_fn(|r| &x[now[r] * stride..][..packed.columns]);
                let weights: [&[f32]; T] = std::array::from_fn(|i| packed.weights(tiles.start + t + i));
                let at = |i: usize, r: usize| now[r] * tiles.len() + t + i;
                let mut own = [[[simd.splat_f32s(0.0)]; R]; T];
                for (i, own) in own.iter_mut().enumerate() {
                    for (r, [sum]) in own.iter_mut().enumerate() {
                        *sum = sums[at(i, r)];
                    }
                }
                let in_memory = bytemuck::cast_slice_mut(own.as_flattened_mut().as_flattened_mut());
                simd.vectorize(AddProduct::<1, R, T> { weights, x, sums: in_memory });
                for (i, own) in own.iter().enumerate() {
                    for (r, [sum]) in own.iter().enumerate() {
                        sums[at(i, r)] = *sum;
                    }
                }
            });
            rest = later;
        }
        t += count;
    }
}

/// Adds the product of all tiles of one gate to `sums`, `[rows, tiles]` of vectors, for all rows of x.
pub(super) struct AddRows<'a> {
    pub(super) packed: &'a Packed,
    /// `[rows, stride]`, of which the first K of a row count.
    pub(super) x: &'a [f32],
    pub(super) stride: usize,
    pub(super) sums: &'a mut [f32],
}

impl WithSimd for AddRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { packed, x, stride, sums } = self;
        let size = packed.tiles() * S::F32_LANES;
        // Blocks whose rows are still in the cache for the next tiles.
        for (x, sums) in x.chunks(BLOCK_ROWS * stride).zip(sums.chunks_mut(BLOCK_ROWS * size)) {
            let rows: [usize; BLOCK_ROWS] = std::array::from_fn(|row| row);
            let rows = &rows[..x.len() / stride];
            add_tiles(simd, packed, 0..packed.tiles(), rows, (x, stride), sums);
        }
    }
}
