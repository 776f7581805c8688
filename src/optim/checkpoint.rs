//! The state of an optimiser in a file.

use std::collections::BTreeMap;
use std::path::Path;

use crate::blocking::Wait;
use crate::error::{Error, Result};
use crate::memory::copied;
use crate::optim::Optimizer;
use crate::optim::moments::Moments;
use crate::optim::rule::Rule;
use crate::real::Real;
use crate::request::Request;
use crate::tensor::Tensor;
use crate::weights::tensor_file::TensorFile;

/// What an optimiser keeps between its steps, as a file holds it: [`Optimizer::state`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OptimizerState<F: Real = f32> {
    /// The arrays of each parameter, `{parameter}.exp_avg` and so on.
    pub tensors: BTreeMap<String, Tensor<F>>,
    /// The number of steps of each parameter, `{parameter}.step`.
    pub metadata: BTreeMap<String, String>,
}

impl<F: Real> Optimizer<F> {
    /// Saves what the optimiser keeps for each parameter to a safetensors file: `{parameter}.exp_avg` and
    /// `{parameter}.exp_avg_sq`, or `{parameter}.momentum_buffer`, and the number of its steps in the metadata. The
    /// rule is not saved; [`load`](Self::load) is given one, so that it can change.
    ///
    /// An optimiser that is saved, loaded and stepped on gives the bits of one that was not interrupted. A checkpoint
    /// of a whole training has, in addition, the layers ([`Layer::save_safetensors`](crate::Layer::save_safetensors)),
    /// the program's own tensors and, with dropout, the number of masks drawn
    /// ([`Placed::mask_count`](crate::Placed::mask_count)).
    ///
    /// What is kept on a GPU is read back.
    ///
    /// # Errors
    /// The errors of [`TensorFile::save`]; on a GPU [`Error::OutOfMemory`] and [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let OptimizerState { tensors, metadata } = self.state()?;
        let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        TensorFile::save_with_metadata(path, &tensors, &metadata)
    }

    /// Returns the tensors and the metadata that [`save`](Self::save) writes, for a file that holds more than the
    /// optimiser.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if memory runs out; on a GPU [`Error::OutOfMemory`] and [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn state(&self) -> Result<OptimizerState<F>> {
        pollster::block_on(self.read_state(Wait::Blocking))
    }

    /// Requests the [state](Self::state), which does not have to block. See [`Request`].
    ///
    /// # Errors
    /// When it runs, as [`state`](Self::state).
    pub fn request_state(&self) -> Request<'_, OptimizerState<F>> {
        Request::plain(async move |wait| self.read_state(wait).await)
    }

    async fn read_state(&self, wait: Wait) -> Result<OptimizerState<F>> {
        let mut all: BTreeMap<&str, &Moments<F>> = BTreeMap::new();
        all.extend(self.moments.iter().map(|(name, moments)| (name.as_str(), moments)));
        let mut read = Vec::new();
        for resident in &self.residents {
            read.extend(resident.read(wait).await?);
        }
        all.extend(read.iter().map(|(name, moments)| (name.as_str(), moments)));
        let (mut tensors, mut metadata) = (BTreeMap::new(), BTreeMap::new());
        for (name, moments) in all {
            metadata.insert(format!("{name}.step"), moments.step.to_string());
            for (array, values) in self.rule.arrays().iter().zip(&moments.arrays) {
                let tensor = Tensor::new([values.len()], copied("a moment", values)?)?;
                tensors.insert(format!("{name}.{array}"), tensor);
            }
        }
        Ok(OptimizerState { tensors, metadata })
    }

    /// Reads the optimiser that [`save`](Self::save) saved.
    ///
    /// # Errors
    /// The errors of [`TensorFile::open`] and [`from_tensor_file`](Self::from_tensor_file).
    pub fn load(path: impl AsRef<Path>, rule: impl Into<Rule>) -> Result<Self> {
        Self::from_tensor_file(&TensorFile::open(path)?, rule)
    }

    /// Reads the optimiser from an open file that has its [state](Self::state), among other things or alone.
    ///
    /// # Errors
    /// The errors of [`new`](Self::new); [`Error::MissingTensor`] for a file of an optimiser with another rule;
    /// [`Error::Shape`] for arrays of one parameter that differ in size.
    pub fn from_tensor_file(file: &TensorFile, rule: impl Into<Rule>) -> Result<Self> {
        let mut optimizer = Self::new(rule)?;
        for (key, value) in file.metadata() {
            let (Some(name), Ok(step)) = (key.strip_suffix(".step"), value.parse()) else { continue };
            let mut arrays: Vec<Vec<F>> = Vec::new();
            for array in optimizer.rule.arrays() {
                let tensor_name = format!("{name}.{array}");
                let why = || format!("an optimiser {:?} keeps it", optimizer.rule);
                let missing = || Error::MissingTensor { name: tensor_name.clone(), why: why() };
                let values = file.tensor::<F>(&tensor_name)?.ok_or_else(missing)?.into_data();
                if let Some(first) = arrays.first().filter(|first| first.len() != values.len()) {
                    let expected = format!("{} values, as in the others of {name}", first.len());
                    return Err(Error::Shape { what: tensor_name, expected, got: vec![values.len()] });
                }
                arrays.push(values);
            }
            optimizer.moments.insert(name.to_owned(), Moments { step, arrays });
        }
        Ok(optimizer)
    }
}
