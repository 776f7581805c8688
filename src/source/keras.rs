//! Keras's layers in PyTorch's form.

use crate::cell_kind::{CellKind, Nonlinearity};
use crate::config::RecurrentConfig;
use crate::error::{Error, Result};
use crate::form::Form;
use crate::formats::array::Array;
use crate::formats::keras::{DirectionWeights, KerasFile, KerasLayer, Kind, Merge as InKeras};
use crate::real::Real;
use crate::source::imported::{Described, Merge};
use crate::source::layer::SourceLayer;
use crate::tensor::Tensor;
use crate::weights::LayerWeights;
use crate::weights::inventory::LayerKind;

impl KerasLayer {
    /// Describes the layer, which is of `kind` if the file does not tell its kind.
    pub(crate) fn described(&self, kind: Option<LayerKind>) -> SourceLayer {
        let mut notes = Vec::new();
        match self.merge {
            Some(InKeras::Concat) => {}
            None if self.bidirectional => notes.push("merge_mode=None".to_owned()),
            None => {}
            Some(merge) => notes.push(format!("merge_mode={}", format!("{merge:?}").to_lowercase())),
        }
        let mut flag = |is_set: bool, text: &str| notes.extend(is_set.then(|| text.to_owned()));
        flag(!self.bidirectional && self.go_backwards(), "go_backwards=True");
        flag(!self.return_sequences, "return_sequences=False");
        flag(self.stateful, "stateful=True");
        flag(self.masking, "masking, whose lengths are given with the input");
        flag(self.zero_output_for_mask && !self.weights_only, "zero_output_for_mask=True");
        for direction in &self.directions {
            for other in [&direction.activation, &direction.recurrent_activation] {
                notes.extend(other.as_ref().err().map(|name| format!("activation {name}, which cannot run here")));
            }
        }
        notes.extend(self.notes.clone());
        match self.clone().of_kind(kind).config() {
            Some(config) => {
                let described = SourceLayer::new(self.name.clone(), &config, notes);
                SourceLayer { weights_only: self.weights_only, ..described }
            }
            None => {
                let size = |size: Option<usize>| size.map_or_else(|| "?".to_owned(), |size| size.to_string());
                SourceLayer {
                    name: self.name.clone(),
                    kind: None,
                    input_size: self.input_size,
                    hidden_size: self.units,
                    num_layers: 1,
                    directions: self.directions.len(),
                    weights_only: self.weights_only,
                    notes,
                    text: format!("a layer of unknown kind ({}, {})", size(self.input_size), size(self.units)),
                }
            }
        }
    }

    /// Returns the layer with a kind, if it has none.
    fn of_kind(mut self, kind: Option<LayerKind>) -> Self {
        self.kind = self.kind.or(kind.map(|kind| match kind {
            LayerKind::Lstm => Kind::Lstm,
            LayerKind::Gru => Kind::Gru,
            LayerKind::Rnn => Kind::SimpleRnn,
        }));
        self
    }

    /// Returns the configuration of the layer, if the file tells its kind. Activations that cannot run are left out.
    pub(crate) fn config(&self) -> Option<RecurrentConfig> {
        let first = self.directions.first()?;
        let cell = match self.kind? {
            Kind::Lstm => CellKind::Lstm,
            Kind::Gru if first.reset_after || first.cudnn => CellKind::Gru,
            Kind::Gru => CellKind::GruResetBefore,
            Kind::SimpleRnn => CellKind::Rnn(Nonlinearity::Tanh),
        };
        let mut activations = Vec::new();
        for direction in &self.directions {
            let (own, gates) = (direction.activation.clone(), direction.recurrent_activation.clone());
            activations.extend(match cell {
                CellKind::Lstm => vec![gates, own.clone(), own],
                CellKind::Gru | CellKind::GruResetBefore => vec![gates, own],
                CellKind::Rnn(_) => vec![own],
            });
        }
        let activations = activations.into_iter().collect::<Result<Vec<_>, _>>().unwrap_or_default();
        let config = RecurrentConfig {
            form: Form { activations, ..Form::default() },
            bias: first.use_bias,
            batch_first: !self.time_major,
            bidirectional: self.bidirectional,
            reverse: !self.bidirectional && first.go_backwards,
            ..RecurrentConfig::one_layer(cell, self.input_size.unwrap_or(0), self.units.unwrap_or(0))
        };
        Some(config.canonical())
    }
}

impl KerasFile {
    /// Loads the layer at `index`, which is of `kind` if the file does not tell its kind.
    pub(crate) fn described<F: Real>(&self, index: usize, kind: Option<LayerKind>) -> Result<Described<F>> {
        let layer = self.layers().get(index).map(|layer| layer.clone().of_kind(kind));
        let loaded = self.load(index, layer.as_ref().and_then(|layer| layer.kind))?;
        let Some((layer, mut config)) = layer.and_then(|layer| layer.config().map(|config| (layer, config))) else {
            let found = self.layers().iter().map(|layer| layer.name.clone()).collect();
            return Err(Error::NotFound { what: "layer".to_owned(), name: index.to_string(), found });
        };
        if layer.bidirectional && layer.go_backwards() {
            return Err(Error::Unsupported {
                what: format!("the Bidirectional layer {:?} over one with go_backwards=True", layer.name),
                why: "its outputs are in the order of neither direction".to_owned(),
            });
        }
        let directions = [Some(&loaded.forward), loaded.backward.as_ref()].into_iter().flatten();
        let layers = directions.map(|direction| weights(&layer.name, direction)).collect::<Result<Vec<_>>>()?;
        if let Some(first) = layers.first() {
            config.input_size = first.weight_ih().shape().last().copied().unwrap_or(0);
            config.hidden_size = first.weight_hh().shape().last().copied().unwrap_or(0);
            config.bias = first.bias_ih().is_some();
        }
        let merge = layer.merge.filter(|_| layer.bidirectional).map(|merge| match merge {
            InKeras::Concat => Merge::Concat,
            InKeras::Sum => Merge::Sum,
            InKeras::Mul => Merge::Mul,
            InKeras::Ave => Merge::Ave,
        });
        let flips = !layer.bidirectional && layer.go_backwards();
        Ok(Described { merge, flips, ..Described::new(config, layers) })
    }
}

fn weights<F: Real>(name: &str, direction: &DirectionWeights) -> Result<LayerWeights<F>> {
    let tensor = |array: &Array| Tensor::new(array.shape.as_slice(), array.numbers::<F>(name)?);
    let weights = LayerWeights::new(tensor(&direction.weight_ih)?, tensor(&direction.weight_hh)?);
    Ok(match (&direction.bias_ih, &direction.bias_hh) {
        (Some(ih), Some(hh)) => weights.with_bias(tensor(ih)?, tensor(hh)?),
        _ => weights,
    })
}
