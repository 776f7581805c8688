//! The input product, hoisted out of the recurrence. The GPU twins are in shaders/input_product/.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};

use crate::cpu::reference::step::DirectionWeights;
use crate::error::Result;
use crate::memory::zeroed;
use crate::real::Real;

/// Returns `gx[row] = W_ih·x[row] + b_ih` for gathered rows `[rows, I]`, as `[rows, G·H]`.
///
/// Each element sums over its row of x in an order that depends on nothing else, so a chunk gives the same bits as the
/// whole.
pub(crate) fn input_product<F: Real>(weights: &DirectionWeights<F>, x: &[F], features: usize) -> Result<Vec<F>> {
    let (rows, gate_rows) = (x.len() / features, weights.bias_ih.len());
    let mut gx = zeroed("gx", &[rows, gate_rows])?;
    for gx in gx.chunks_exact_mut(gate_rows) {
        gx.copy_from_slice(&weights.bias_ih);
    }
    // The shapes hold by construction, so no view can fail; an empty product is the biases alone.
    if let (Ok(a), Ok(b), Ok(mut c)) = (
        ArrayView2::from_shape((rows, features), x),
        ArrayView2::from_shape((gate_rows, features), &weights.weight_ih),
        ArrayViewMut2::from_shape((rows, gate_rows), &mut gx),
    ) {
        general_mat_mul(F::one(), &a, &b.t(), F::one(), &mut c);
    }
    Ok(gx)
}
