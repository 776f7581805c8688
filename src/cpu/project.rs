//! The input product, hoisted out of the recurrence. The GPU twin is shaders/project.wgsl.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};

use crate::cpu::step::DirectionWeights;
use crate::tensor::zeroed;
use crate::{Real, Result};

/// `gx[row] = W_ih·x[x_row(row)] + b_ih` for `rows` rows in step order: `[rows, G·H]`.
///
/// Each element sums over its row of x in an order that depends on nothing else, so a chunk gives the bits of the whole.
pub(crate) fn project<F: Real>(
    weights: &DirectionWeights<F>,
    x: &[F],
    features: usize,
    rows: usize,
    x_row: impl Fn(usize) -> usize,
) -> Result<Vec<F>> {
    let gate_rows = weights.bias_ih.len();
    let mut gathered = zeroed("the input of a chunk", &[rows, features])?;
    let mut gx = zeroed("gx", &[rows, gate_rows])?;
    for (row, (to, gx)) in gathered.chunks_exact_mut(features).zip(gx.chunks_exact_mut(gate_rows)).enumerate() {
        let from = x_row(row) * features;
        to.copy_from_slice(&x[from..from + features]);
        gx.copy_from_slice(&weights.bias_ih);
    }
    // The shapes hold by construction, so neither view can fail; an empty product is the biases alone.
    if let (Ok(a), Ok(b), Ok(mut c)) = (
        ArrayView2::from_shape((rows, features), &gathered),
        ArrayView2::from_shape((gate_rows, features), &weights.weight_ih),
        ArrayViewMut2::from_shape((rows, gate_rows), &mut gx),
    ) {
        general_mat_mul(F::one(), &a, &b.t(), F::one(), &mut c);
    }
    Ok(gx)
}
