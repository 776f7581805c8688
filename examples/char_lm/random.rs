//! The random numbers of a training. Each use has a generator of its own that follows from the seed and the number of
//! the use, so that a checkpoint has no generator to record.

use anyhow::Result;
use rand::RngExt;
use rand_pcg::Pcg64;
use wgpu_rnn::Tensor;

/// What random numbers are drawn for.
#[derive(Clone, Copy)]
pub enum Use {
    /// The first weights of the embedding.
    Embedding,
    /// The first weights of the head.
    Head,
    /// The beginning of an epoch, by its number.
    Epoch(usize),
    /// The sample after a step, by its number.
    Sample(usize),
}

/// Returns the generator for a use.
pub fn generator(seed: u64, of: Use) -> Pcg64 {
    let (kind, number) = match of {
        Use::Embedding => (0, 0),
        Use::Head => (1, 0),
        Use::Epoch(number) => (2, number),
        Use::Sample(number) => (3, number),
    };
    Pcg64::new(u128::from(seed), (kind << 64) | number as u128)
}

/// Returns numbers that are uniform in ±`bound`.
pub fn uniform(shape: &[usize], bound: f32, generator: &mut Pcg64) -> Result<Tensor> {
    let mut tensor = Tensor::zeros(shape)?;
    tensor.data_mut().fill_with(|| generator.random_range(-bound..=bound));
    Ok(tensor)
}

/// Returns numbers of the standard normal distribution, by the method of Box and Muller.
pub fn normal(shape: &[usize], generator: &mut Pcg64) -> Result<Tensor> {
    let mut tensor = Tensor::zeros(shape)?;
    tensor.data_mut().fill_with(|| {
        let (radius, angle): (f32, f32) = (generator.random(), generator.random());
        // 1 - radius is never 0.
        (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f32::consts::TAU * angle).cos()
    });
    Ok(tensor)
}
