//! Arrays whose rows are steps and batch rows, `[T, B]` in the order in which a direction walks the steps. Rows past
//! the end of a batch row are zero, and what a caller has there is not read.

use crate::call::Call;
use crate::config::RecurrentConfig;
use crate::dropout::{Dropout, Key};
use crate::error::Result;
use crate::memory::zeroed;
use crate::real::Real;

/// Gathers the rows of x in step order, `[rows, I]`, as a layer reads them; with dropout, if a mask's key is given.
/// Rows that the layer does not read are zero.
pub(super) fn gather<F: Real>(
    x: &[F],
    features: usize,
    rows: usize,
    x_row: impl Fn(usize) -> Option<usize>,
    dropout: Option<(Dropout, Key)>,
) -> Result<Vec<F>> {
    let mut gathered = zeroed("the input of a chunk", &[rows, features])?;
    for (row, to) in gathered.chunks_exact_mut(features).enumerate() {
        let Some(from) = x_row(row).map(|row| row * features) else { continue };
        to.copy_from_slice(&x[from..from + features]);
        if let Some((dropout, key)) = dropout {
            for (element, value) in (from..).zip(to) {
                *value = dropout.apply(key, *value, element);
            }
        }
    }
    Ok(gathered)
}

/// Writes h before each step, `[T·B, P]`, given the layer's output y and its initial states h `[L·D, B, P]`.
pub(super) fn h_before<F: Real>(
    config: &RecurrentConfig,
    call: &Call,
    (layer, direction): (usize, usize),
    y: &[F],
    initial: &[F],
    h_before: &mut [F],
) {
    let (extents, width) = (call.extents(), config.recurrent_size());
    let index = layer * config.directions() + direction;
    let (_, y_rows) = extents.layer_rows(layer, config.num_layers);
    for (row, h) in h_before.chunks_exact_mut(width).enumerate() {
        let (s, b) = (row / extents.batch, row % extents.batch);
        if s >= call.length(b) {
            h.fill(F::zeroed());
        } else if s == 0 {
            let at = (index * extents.batch + b) * width;
            h.copy_from_slice(&initial[at..at + width]);
        } else {
            let time = call.time_of(s - 1, direction, b);
            let at = (time * y_rows.time + b * y_rows.batch) * config.output_size() + direction * width;
            h.copy_from_slice(&y[at..at + width]);
        }
    }
}
