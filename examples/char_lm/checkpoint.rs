//! Everything that a training needs to go on as if it had not been interrupted, in one file that appears whole.
//!
//! | in the file | what |
//! |---|---|
//! | `model.{weight}` | the weights: `model.embedding.weight` and so on |
//! | `{weight}.exp_avg`, `{weight}.exp_avg_sq` | the optimiser's, which also has metadata `{weight}.step` |
//! | `state.h`, `state.c` | the state that the next window continues from |
//! | `record.losses`, `record.bits` | the losses of all steps so far; the step and the bits of each measurement |
//! | metadata `settings`, `text`, `masks` | the settings, the text's fingerprint, the number of dropout masks drawn |
//!
//! The number of the next step is that of the losses. From it and the seed follow the place in the text and all random
//! numbers.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use wgpu_rnn::{AdamW, Device, GruKind, Kind, LstmKind, LstmState, Optimizer, OptimizerState, Tensor, TensorFile};

use crate::model::Model;
use crate::settings::Settings;
use crate::text::Text;
use crate::train::{Record, Training};

/// The names of the weights begin with this. Without it, a layer would take the optimiser's arrays for weights of its
/// own in excess of those that it has.
const PREFIX: &str = "model.";

/// A kind of layer whose state can be written to a file.
pub trait Stateful: Kind {
    /// Returns the arrays of a state with their names.
    fn tensors_of(state: &Self::State<f32>) -> Vec<(&'static str, &Tensor)>;

    /// Builds a state from arrays by name; `None` if the first is missing, as before the first step.
    fn state_from(array: impl Fn(&str) -> Result<Option<Tensor>>) -> Result<Option<Self::State<f32>>>;
}

impl Stateful for LstmKind {
    fn tensors_of(state: &LstmState) -> Vec<(&'static str, &Tensor)> {
        vec![("state.h", &state.h), ("state.c", &state.c)]
    }

    fn state_from(array: impl Fn(&str) -> Result<Option<Tensor>>) -> Result<Option<LstmState>> {
        Ok(array("state.h")?.zip(array("state.c")?).map(|(h, c)| LstmState { h, c }))
    }
}

impl Stateful for GruKind {
    fn tensors_of(state: &Tensor) -> Vec<(&'static str, &Tensor)> {
        vec![("state.h", state)]
    }

    fn state_from(array: impl Fn(&str) -> Result<Option<Tensor>>) -> Result<Option<Tensor>> {
        array("state.h")
    }
}

/// Reads the settings of the training that a checkpoint continues.
pub fn settings(path: &Path) -> Result<Settings> {
    let file = TensorFile::open(path)?;
    let settings = file.metadata().get("settings").with_context(|| format!("{}: no checkpoint", path.display()))?;
    serde_json::from_str(settings).with_context(|| format!("{}: its settings", path.display()))
}

impl<K: Stateful> Training<K> {
    /// Writes a checkpoint.
    pub fn save(&self, path: &Path, text: &Text) -> Result<()> {
        let OptimizerState { tensors: moments, mut metadata, .. } = self.optimizer.state()?;
        metadata.insert("settings".to_owned(), serde_json::to_string(&self.settings)?);
        metadata.insert("text".to_owned(), text.fingerprint().to_string());
        metadata.insert("masks".to_owned(), self.model.layer().mask_count().to_string());
        let losses = Tensor::new([self.record.losses.len()], &self.record.losses)?;
        let bits: Vec<f32> = self.record.bits.iter().flat_map(|&(step, bits)| [step as f32, bits]).collect();
        let bits = Tensor::new([self.record.bits.len(), 2], bits)?;

        let weights = self.model.tensors()?;
        let weights = weights.iter().map(|(name, tensor)| (format!("{PREFIX}{name}"), tensor));
        let mut tensors: Vec<(String, &Tensor)> = weights.collect();
        tensors.extend(moments.iter().map(|(name, tensor)| (name.clone(), tensor)));
        tensors.extend([("record.losses".to_owned(), &losses), ("record.bits".to_owned(), &bits)]);
        let state = self.state.iter().flat_map(K::tensors_of);
        tensors.extend(state.map(|(name, tensor)| (name.to_owned(), tensor)));
        Ok(TensorFile::save_with_metadata(path, &tensors, &metadata)?)
    }

    /// Reads a checkpoint of a training on this text.
    pub fn load(path: &Path, settings: Settings, text: &Text, device: &Device) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let damaged = |what: &str| format!("{}: no checkpoint, it has no {what}", path.display());
        let tensor = |name: &str| -> Result<Tensor> { file.tensor(name)?.with_context(|| damaged(name)) };
        let of_text = file.metadata().get("text").with_context(|| damaged("text"))?;
        ensure!(
            *of_text == text.fingerprint().to_string(),
            "{}: it was trained on another text; name it by --text",
            path.display()
        );
        let model = Model::load(&settings, &file, PREFIX, device).with_context(|| path.display().to_string())?;
        let masks = file.metadata().get("masks").with_context(|| damaged("masks"))?;
        model.train(); // before it there is nothing to count
        model.layer().set_mask_count(masks.parse().with_context(|| damaged("number of masks"))?);
        let bits = tensor("record.bits")?;
        Ok(Self {
            optimizer: Optimizer::from_tensor_file(&file, AdamW::new())?,
            state: K::state_from(|name| Ok(file.tensor(name)?))?,
            record: Record {
                losses: tensor("record.losses")?.into_data(),
                bits: bits.data().chunks_exact(2).map(|pair| (pair[0] as usize, pair[1])).collect(),
            },
            model,
            settings,
        })
    }
}
