//! The gradients of weights: sums of outer products over all steps and rows.
//!
//! Both factors have a step after the other in memory, as the blocks of a matrix product want them, so that none is
//! transposed. Blocks are copied so that the kernel reads them in one stretch: rows a power of two apart would take
//! each other's place in the cache.

use std::ops::Range;

use pulp::{Simd, WithSimd};

/// The rows of the sum that are added in registers. Every element of a gradient is the sum of such parts, in order, so
/// its bits depend neither on threads nor on the other blocks.
const DEPTH: usize = 512;
/// The columns of a block of `a`.
const A_COLUMNS: usize = 16 * TILE_ROWS;
/// The columns of a block of each operand.
const B_COLUMNS: usize = 512;
/// The rows of the result that are in registers at a time: with their vectors, 24 sums of 32 registers or 12 of 16.
const TILE_ROWS: usize = 6;

/// Adds `Σ_n a[n][columns] ⊗ b[n]` to the sum of each operand b. Operands that share a share its copies.
pub(super) struct AddOuter<'a> {
    /// `[n, a_width]`
    pub(super) a: &'a [f32],
    pub(super) a_width: usize,
    pub(super) columns: Range<usize>,
    pub(super) operands: Vec<Operand<'a>>,
}

pub(super) struct Operand<'a> {
    /// `[n, width]`
    pub(super) b: &'a [f32],
    pub(super) width: usize,
    /// `[columns, width]`
    pub(super) sum: &'a mut [f32],
}

impl WithSimd for AddOuter<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT < 32 { self.with_vectors::<S, 2>(simd) } else { self.with_vectors::<S, 4>(simd) }
    }
}

impl AddOuter<'_> {
    /// Adds the products in tiles of V vectors.
    #[inline(always)]
    fn with_vectors<S: Simd, const V: usize>(self, simd: S) {
        let Self { a, a_width, columns, mut operands } = self;
        let (depth, tile_columns) = (a.len() / a_width, V * S::F32_LANES);
        let most = |most: usize, all: usize, of: usize| most.min(all).next_multiple_of(of);
        let in_a = most(A_COLUMNS, columns.len(), TILE_ROWS);
        let mut a_block = vec![0.0; DEPTH.min(depth) * in_a];
        let in_b = |width: usize| most(B_COLUMNS, width, tile_columns);
        let mut b_blocks: Vec<Vec<f32>> =
            operands.iter().map(|operand| vec![0.0; DEPTH.min(depth) * in_b(operand.width)]).collect();
        let widest = operands.iter().map(|operand| operand.width).max().unwrap_or(0);
        for first in (0..widest).step_by(B_COLUMNS) {
            for rows in pieces(0..depth, DEPTH) {
                for (operand, block) in operands.iter().zip(&mut b_blocks) {
                    let of_b = first.min(operand.width)..(first + B_COLUMNS).min(operand.width);
                    copy_block(operand.b, operand.width, rows.clone(), of_b, tile_columns, block);
                }
                for of_a in pieces(columns.clone(), in_a) {
                    copy_block(a, a_width, rows.clone(), of_a.clone(), TILE_ROWS, &mut a_block);
                    for (Operand { width, sum, .. }, block) in operands.iter_mut().zip(&b_blocks) {
                        let of_b = first.min(*width)..(first + B_COLUMNS).min(*width);
                        for (b_tile, b) in pieces(of_b, tile_columns).zip(block.chunks(rows.len() * tile_columns)) {
                            let a_tiles = pieces(of_a.clone(), TILE_ROWS).zip(a_block.chunks(rows.len() * TILE_ROWS));
                            for (a_tile, a) in a_tiles {
                                let first = (a_tile.start - columns.start) * *width + b_tile.start;
                                let (rows, columns, sum) = (a_tile.len(), b_tile.len(), &mut sum[first..]);
                                simd.vectorize(Tile::<V> { a, b, rows, columns, sum, width: *width });
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Cuts a range into pieces of a size, the last of which may be smaller.
pub(super) fn pieces(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(size.max(1)).map(move |first| first..range.end.min(first + size))
}

/// Copies a block of a matrix to `[tiles, rows, tile]`. The last tile is filled with zeros. Inlined, so that a tile of
/// six is copied by two instructions and not by a call.
#[inline(always)]
fn copy_block(from: &[f32], width: usize, rows: Range<usize>, columns: Range<usize>, tile: usize, to: &mut [f32]) {
    let size = rows.len() * tile;
    for (n, row) in rows.enumerate() {
        let row = &from[row * width..(row + 1) * width][columns.clone()];
        for (part, to) in row.chunks(tile).zip(to[n * tile..].chunks_mut(size)) {
            match part.len() == tile {
                true => to[..tile].copy_from_slice(part),
                false => {
                    to[..part.len()].copy_from_slice(part);
                    to[part.len()..tile].fill(0.0);
                }
            }
        }
    }
}

/// A tile of the result, in registers over all rows of a block: a function of its own, as the product of a step is.
struct Tile<'a, const V: usize> {
    /// `[n, TILE_ROWS]`
    a: &'a [f32],
    /// `[n, V, lanes]`
    b: &'a [f32],
    /// How much of the tile there is.
    rows: usize,
    columns: usize,
    /// From the tile's first element on; its rows are `width` elements apart.
    sum: &'a mut [f32],
    width: usize,
}

impl<const V: usize> WithSimd for Tile<'_, V> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let a = self.a.as_chunks::<TILE_ROWS>().0;
        let b = S::as_simd_f32s(self.b).0.as_chunks::<V>().0;
        let mut sums = [[simd.splat_f32s(0.0); V]; TILE_ROWS];
        for (a, b) in a.iter().zip(b) {
            for r in 0..TILE_ROWS {
                let a = simd.splat_f32s(a[r]);
                for v in 0..V {
                    sums[r][v] = simd.mul_add_e_f32s(a, b[v], sums[r][v]);
                }
            }
        }
        if (self.rows, self.columns) == (TILE_ROWS, V * S::F32_LANES) {
            for (r, sums) in sums.iter().enumerate() {
                let (row, _) = S::as_mut_simd_f32s(&mut self.sum[r * self.width..][..V * S::F32_LANES]);
                for (to, sum) in row.iter_mut().zip(sums) {
                    *to = simd.add_f32s(*to, *sum);
                }
            }
            return;
        }
        for (r, sums) in sums.iter().enumerate().take(self.rows) {
            let row = &mut self.sum[r * self.width..][..self.columns];
            for (to, sum) in row.chunks_mut(S::F32_LANES).zip(sums) {
                simd.partial_store_f32s(to, simd.add_f32s(simd.partial_load_f32s(to), *sum));
            }
        }
    }
}
