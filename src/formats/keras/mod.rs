//! Recurrent layers of Keras's files: `.h5`, `.weights.h5` and `.keras`, from Keras 1 to Keras 3.

mod activations;
mod archive;
mod by_class;
mod by_name;
mod canonical;
mod config;
mod layer;
mod listing;
mod store;
#[cfg(test)]
mod tests;

use std::io::{Cursor, Read};
use std::sync::Arc;

use safetensors::Dtype;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::formats::array::Array;
use crate::formats::input::Input;
use crate::formats::keras::by_name::Tensors;
use crate::formats::keras::canonical::Stored;
use crate::formats::keras::config::Version;
use crate::formats::keras::store::Store;
use crate::formats::reader::Reader;

pub(crate) use crate::formats::keras::canonical::DirectionWeights;
pub(crate) use crate::formats::keras::layer::{KerasDirection, KerasLayer, Kind, Merge};

const ZIP: [u8; 4] = *b"PK\x03\x04";

/// A file with recurrent layers of Keras.
pub(crate) struct KerasFile {
    origin: String,
    store: Store,
    layers: Vec<KerasLayer>,
    /// Where each layer's tensors are, one entry a direction, or why that is not known.
    tensors: Vec<std::result::Result<Vec<Tensors>, String>>,
}

/// The weights of a layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LoadedKeras {
    pub(crate) kind: Kind,
    /// F32 or F64, of every tensor.
    pub(crate) dtype: Dtype,
    pub(crate) forward: DirectionWeights,
    pub(crate) backward: Option<DirectionWeights>,
}

impl KerasFile {
    /// Lists the layers of a file; weights are left in it until they are loaded.
    pub(crate) fn of(input: &Arc<Input>) -> Result<Self> {
        let mut start = Vec::new();
        let read = Reader::new(input).take(ZIP.len() as u64).read_to_end(&mut start);
        read.map_err(|error| input.read_error(error))?;
        let (origin, reader) = (input.origin(), Reader::new(input));
        if start == ZIP { Self::from_zip(origin, reader) } else { Self::from_store(origin, Store::open(reader)) }
    }

    /// Returns whether a file is a zip with the members of a Keras model.
    pub(crate) fn is_keras_zip(input: &Arc<Input>) -> bool {
        archive::is_keras(Reader::new(input))
    }

    /// Returns the layers in the model's order; without a config, by class and number.
    pub(crate) fn layers(&self) -> &[KerasLayer] {
        &self.layers
    }

    /// Loads the weights of the layer at `index` of [`layers`](Self::layers). It is of `kind` if the file does not tell
    /// its kind.
    pub(crate) fn load(&self, index: usize, kind: Option<Kind>) -> Result<LoadedKeras> {
        let (Some(layer), Some(tensors)) = (self.layers.get(index), self.tensors.get(index)) else {
            return Err(no_layer(index, self.names()));
        };
        if let Some(rejection) = &layer.rejection {
            return Err(rejection.error());
        }
        let kind = layer.kind.or(kind).ok_or_else(|| Error::Unsupported {
            what: format!("layer {:?}", layer.name),
            why: "the file does not tell whether it is an LSTM, a GRU or a SimpleRNN".to_owned(),
        })?;
        for direction in &layer.directions {
            let gates = (kind != Kind::SimpleRnn).then_some(&direction.recurrent_activation);
            let rejected = [Some(&direction.activation), gates].into_iter().flatten().find_map(|a| a.as_ref().err());
            if let Some(name) = rejected {
                return Err(Error::Unsupported {
                    what: format!("activation {name:?}"),
                    why: format!("layer {:?} has it, and no recurrent layer here can", layer.name),
                });
            }
        }
        let broken = |why: String| self.broken(format!("layer {:?}: {why}", layer.name));
        let tensors = tensors.as_ref().map_err(|why| broken(why.clone()))?;
        let mut stored =
            tensors.iter().map(|t| self.stored(t)).collect::<std::result::Result<Vec<_>, _>>().map_err(broken)?;
        let is_wide = |stored: &Stored| stored.arrays().any(|array| array.dtype == Dtype::F64);
        let dtype = if stored.iter().any(is_wide) {
            stored = stored.into_iter().map(Stored::widened).collect::<std::result::Result<_, _>>().map_err(broken)?;
            Dtype::F64
        } else {
            Dtype::F32
        };
        let mut weights = Vec::new();
        for (stored, direction) in stored.iter().zip(&layer.directions) {
            self.check(layer, kind, direction, stored)?;
            weights.push(canonical::weights(&layer.name, kind, direction.cudnn, stored)?);
        }
        let mut weights = weights.into_iter();
        let forward = weights.next().ok_or_else(|| broken("it has no weights".to_owned()))?;
        let backward = weights.next();
        if backward.is_some() != layer.bidirectional {
            return Err(broken("it does not have the weights of its directions".to_owned()));
        }
        Ok(LoadedKeras { kind, dtype, forward, backward })
    }

    /// Checks that weights are those that the config speaks of.
    fn check(&self, layer: &KerasLayer, kind: Kind, direction: &KerasDirection, stored: &Stored) -> Result<()> {
        let columns = stored.kernel.shape.last().copied().unwrap_or(0);
        let broken = |why: String| self.broken(format!("layer {:?}: {why}", layer.name));
        if let (Some(units), Some(&rows)) = (layer.units, stored.recurrent.shape.first())
            && units != rows
        {
            return Err(broken(format!("it has {units} units in the config and {rows} in its weights")));
        }
        let form = stored.bias.as_ref().and_then(|bias| canonical::bias_form(&bias.shape, columns));
        if direction.use_bias != stored.bias.is_some() {
            return Err(broken("config and weights disagree about a bias".to_owned()));
        }
        let expected = match kind {
            _ if direction.cudnn => canonical::Bias::CuDnn,
            Kind::Gru if direction.reset_after => canonical::Bias::Two,
            _ => canonical::Bias::One,
        };
        match (&stored.bias, form) {
            (Some(bias), form) if form != Some(expected) => Err(Error::Shape {
                what: format!("the bias of {:?}", layer.name),
                expected: match expected {
                    canonical::Bias::One => format!("[{columns}]"),
                    canonical::Bias::Two => format!("[2, {columns}]"),
                    canonical::Bias::CuDnn => format!("[{}]", columns.saturating_mul(2)),
                },
                got: bias.shape.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn stored(&self, tensors: &Tensors) -> std::result::Result<Stored, String> {
        match tensors {
            Tensors::Fused { kernel, recurrent, bias } => Ok(Stored {
                kernel: self.store.tensor(kernel)?,
                recurrent: self.store.tensor(recurrent)?,
                bias: bias.as_ref().map(|bias| self.store.tensor(bias)).transpose()?,
            }),
            Tensors::Gates(gates) => {
                let part = |at: usize| -> std::result::Result<Array, String> {
                    let paths = gates.iter().filter_map(|gate| gate.get(at));
                    let parts =
                        paths.map(|path| self.store.tensor(path)).collect::<std::result::Result<Vec<_>, _>>()?;
                    canonical::side_by_side(&parts)
                };
                Ok(Stored { kernel: part(0)?, recurrent: part(1)?, bias: Some(part(2)?) })
            }
        }
    }

    fn from_zip(origin: String, reader: Reader) -> Result<Self> {
        let failed = |why| Error::Format { origin: origin.clone(), format: "Keras", why };
        let members = archive::read(reader).map_err(failed)?;
        let json = |name: &str, text: &[u8]| {
            serde_json::from_slice::<Value>(text).map_err(|error| failed(format!("{name}: {error}")))
        };
        let config = json("config.json", &members.config)?;
        let metadata =
            if members.metadata.is_empty() { Value::Null } else { json("metadata.json", &members.metadata)? };
        // Files of this form come from Keras 3 unless they say otherwise.
        let version = Version::new(Some(metadata["keras_version"].as_str().unwrap_or("3")));
        let store = Store::open(Cursor::new(members.weights)).map_err(failed)?;
        let listing = listing::of_config(&store, &config, version, listing::Layout::ByClass).map_err(failed)?;
        Self::from_listing(origin, store, listing)
    }

    fn from_store(origin: String, store: std::result::Result<Store, String>) -> Result<Self> {
        let failed = |why| Error::Format { origin: origin.clone(), format: "Keras", why };
        let store = store.map_err(failed)?;
        let listing = listing::of_hdf5(&store).map_err(failed)?;
        Self::from_listing(origin, store, listing)
    }

    fn from_listing(origin: String, store: Store, listing: listing::Listing) -> Result<Self> {
        if listing.layers.is_empty() {
            if let Some(layer) = listing.convolutional.first() {
                let why = "the file has no other recurrent layer".to_owned();
                return Err(Error::Unsupported { what: layer.clone(), why });
            }
            let mut others = listing.others;
            others.sort();
            others.dedup();
            let why = format!("it has no recurrent layer; its layers are of {others:?}");
            return Err(Error::Format { origin, format: "Keras", why });
        }
        let (layers, tensors) = listing.layers.into_iter().unzip();
        Ok(Self { origin, store, layers, tensors })
    }

    fn broken(&self, why: String) -> Error {
        Error::Format { origin: self.origin.clone(), format: "Keras", why }
    }

    fn names(&self) -> Vec<String> {
        self.layers.iter().map(|layer| layer.name.clone()).collect()
    }
}

fn no_layer(index: usize, found: Vec<String>) -> Error {
    Error::NotFound { what: "layer".to_owned(), name: index.to_string(), found }
}
