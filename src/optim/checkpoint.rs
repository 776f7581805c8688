//! The state of an optimiser in a file.

use std::borrow::Cow;
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
        pollster::block_on(self.write(path.as_ref(), Wait::Blocking))
    }

    /// Requests the [saving](Self::save), which does not have to wait for a GPU by blocking. See [`Request`].
    ///
    /// # Errors
    /// When it runs, as [`save`](Self::save).
    pub fn request_save(&self, path: impl AsRef<Path>) -> Request<'_, ()> {
        let path = path.as_ref().to_owned();
        Request::plain(async move |wait| self.write(&path, wait).await)
    }

    async fn write(&self, path: &Path, wait: Wait) -> Result<()> {
        let mut all: BTreeMap<String, Cow<'_, Moments<F>>> = BTreeMap::new();
        all.extend(self.moments.iter().map(|(name, moments)| (name.clone(), Cow::Borrowed(moments))));
        for resident in &self.residents {
            let read = resident.read(wait).await?;
            all.extend(read.into_iter().map(|(name, moments)| (name, Cow::Owned(moments))));
        }
        let mut arrays = Vec::new();
        let mut steps = BTreeMap::new();
        for (name, moments) in &all {
            steps.insert(format!("{name}.step"), moments.step.to_string());
            for (array, values) in self.rule.arrays().iter().zip(&moments.arrays) {
                arrays.push((format!("{name}.{array}"), Tensor::new([values.len()], copied("a moment", values)?)?));
            }
        }
        let arrays: Vec<_> = arrays.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        TensorFile::save_with_metadata(path, &arrays, &steps)
    }

    /// Reads the optimiser that [`save`](Self::save) saved.
    ///
    /// # Errors
    /// The errors of [`new`](Self::new) and [`TensorFile::open`]; [`Error::MissingTensor`] for a file of an optimiser
    /// with another rule.
    pub fn load(path: impl AsRef<Path>, rule: impl Into<Rule>) -> Result<Self> {
        let mut optimizer = Self::new(rule)?;
        let file = TensorFile::open(path)?;
        for (key, value) in file.metadata() {
            let (Some(name), Ok(step)) = (key.strip_suffix(".step"), value.parse()) else { continue };
            let read = |array: &&str| {
                let tensor_name = format!("{name}.{array}");
                let why = format!("an optimiser {:?} keeps it", optimizer.rule);
                let missing = || Error::MissingTensor { name: tensor_name.clone(), why };
                Ok(file.tensor::<F>(&tensor_name)?.ok_or_else(missing)?.into_data())
            };
            let arrays = optimizer.rule.arrays().iter().map(read).collect::<Result<_>>()?;
            optimizer.moments.insert(name.to_owned(), Moments { step, arrays });
        }
        Ok(optimizer)
    }
}
