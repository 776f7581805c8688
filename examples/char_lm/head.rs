//! The head: a linear layer over the outputs of the recurrent one, softmax, and cross-entropy, with its gradients.
//!
//! ```text
//! logits = y · Wᵀ + b               y: [rows, H], W: [V, H], b: [V]
//! loss   = mean over the rows of -log softmax(logits)[target]
//! δ      = (softmax(logits) - one-hot target) / rows                 the gradient of the logits
//! of W   = δᵀ · y        of b = Σ over the rows of δ        of y = δ · W
//! ```

use anyhow::Result;
use ndarray::{Array2, ArrayView2, Axis};
use rand_pcg::Pcg64;
use wgpu_rnn::Tensor;

use crate::random::uniform;

/// The weights of the head, or their gradients.
pub struct Head {
    /// `[V, H]`
    pub weight: Tensor,
    /// `[V]`
    pub bias: Tensor,
}

impl Head {
    /// Draws the weights as `nn.Linear` does: uniformly from ±1/√H.
    pub fn random(hidden: usize, alphabet: usize, generator: &mut Pcg64) -> Result<Self> {
        let bound = 1.0 / (hidden as f32).sqrt();
        let weight = uniform(&[alphabet, hidden], bound, generator)?;
        Ok(Self { weight, bias: uniform(&[alphabet], bound, generator)? })
    }

    /// Returns the logits `[rows, V]` of outputs `[rows, H]` of the layer.
    pub fn logits(&self, outputs: &[f32]) -> Result<Array2<f32>> {
        let weight = self.weight_view()?;
        let y = ArrayView2::from_shape((outputs.len() / weight.ncols(), weight.ncols()), outputs)?;
        let mut logits = y.dot(&weight.t());
        for mut row in logits.rows_mut() {
            row.iter_mut().zip(self.bias.data()).for_each(|(logit, bias)| *logit += bias);
        }
        Ok(logits)
    }

    /// Returns the sum of -log softmax(logits)[target] over the rows, in nats.
    pub fn loss(&self, outputs: &[f32], targets: &[u8]) -> Result<f64> {
        Ok(softmax(&mut self.logits(outputs)?, targets))
    }

    /// Returns the mean loss over the rows, its gradients, and the gradient of the outputs.
    pub fn gradients(&self, outputs: &Tensor, targets: &[u8]) -> Result<(f64, Self, Tensor)> {
        let rows = targets.len();
        let mut delta = self.logits(outputs.data())?;
        let loss = softmax(&mut delta, targets) / rows as f64;
        for (mut row, &target) in delta.rows_mut().into_iter().zip(targets) {
            row[usize::from(target)] -= 1.0;
            row /= rows as f32;
        }
        let weight = self.weight_view()?;
        let y = ArrayView2::from_shape((rows, weight.ncols()), outputs.data())?;
        let of_outputs = Tensor::new(outputs.shape(), flat(delta.dot(&weight)))?;
        let weight = Tensor::new(self.weight.shape(), flat(delta.t().dot(&y)))?;
        let bias = Tensor::new(self.bias.shape(), delta.sum_axis(Axis(0)).to_vec())?;
        Ok((loss, Self { weight, bias }, of_outputs))
    }

    fn weight_view(&self) -> Result<ArrayView2<'_, f32>> {
        let &[alphabet, hidden] = self.weight.shape() else { anyhow::bail!("head.weight is not a matrix") };
        Ok(ArrayView2::from_shape((alphabet, hidden), self.weight.data())?)
    }
}

/// Replaces logits by their softmax, and returns the sum of -log of the targets' probabilities.
pub fn softmax(logits: &mut Array2<f32>, targets: &[u8]) -> f64 {
    let mut loss = 0.0;
    for (mut row, &target) in logits.rows_mut().into_iter().zip(targets) {
        let (most, of_target) = (row.fold(f32::NEG_INFINITY, |most, &logit| most.max(logit)), row[usize::from(target)]);
        row.mapv_inplace(|logit| (logit - most).exp());
        let sum = row.sum();
        loss += f64::from(sum.ln() - (of_target - most));
        row /= sum;
    }
    loss
}

/// Returns the elements in the order of a row-major array, which a product with a transposed matrix may not have.
fn flat(product: Array2<f32>) -> Vec<f32> {
    match product.is_standard_layout() {
        true => product.into_raw_vec_and_offset().0,
        false => product.iter().copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Use, generator};

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let mut generator = generator(0, Use::Head);
        let head = Head::random(3, 4, &mut generator).unwrap();
        let outputs = uniform(&[2, 1, 3], 1.0, &mut generator).unwrap();
        let targets = [2, 0];
        let (loss, gradients, of_outputs) = head.gradients(&outputs, &targets).unwrap();
        assert!((loss - head.loss(outputs.data(), &targets).unwrap() / 2.0).abs() < 1e-6);
        let step = 1e-2;
        let moved = |tensor: &Tensor, at: usize, by: f32| {
            let mut moved = tensor.clone();
            moved.data_mut()[at] += by;
            moved
        };
        let check = |name: &str, tensor: &Tensor, gradient: &Tensor, loss: &dyn Fn(&Tensor) -> f64| {
            for at in 0..tensor.data().len() {
                let slope =
                    (loss(&moved(tensor, at, step)) - loss(&moved(tensor, at, -step))) / (2.0 * f64::from(step));
                let got = f64::from(gradient.data()[at]);
                assert!((slope - got).abs() < 1e-4, "{name}[{at}]: {got}, expected {slope}");
            }
        };
        let mean = |head: &Head, outputs: &Tensor| head.loss(outputs.data(), &targets).unwrap() / 2.0;
        check("weight", &head.weight, &gradients.weight, &|weight| {
            mean(&Head { weight: weight.clone(), bias: head.bias.clone() }, &outputs)
        });
        check("bias", &head.bias, &gradients.bias, &|bias| {
            mean(&Head { weight: head.weight.clone(), bias: bias.clone() }, &outputs)
        });
        check("outputs", &outputs, &of_outputs, &|outputs| mean(&head, outputs));
    }
}
