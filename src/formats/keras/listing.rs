//! The layers of a file with the places of their weights.

use serde_json::Value;

use crate::activation::Activation;
use crate::formats::keras::by_class;
use crate::formats::keras::by_name::{self, Tensors};
use crate::formats::keras::canonical::{Bias, bias_form};
use crate::formats::keras::config::{Model, Version, unknown_direction};
use crate::formats::keras::layer::Merge;
use crate::formats::keras::layer::{KerasDirection, KerasLayer, Kind};
use crate::formats::keras::store::Store;

/// A layer's tensors, or why they are not known.
type Placed = (KerasLayer, Result<Vec<Tensors>, String>);

pub(super) struct Listing {
    pub(super) layers: Vec<Placed>,
    pub(super) convolutional: Vec<String>,
    pub(super) others: Vec<String>,
}

/// How a file's groups are named.
pub(super) enum Layout {
    ByClass,
    ByName(Vec<String>),
}

/// Lists the layers of an HDF5 file, which may have a config.
pub(super) fn of_hdf5(store: &Store) -> Result<Listing, String> {
    let root = store.attributes("")?;
    let layout = match by_name::groups(store)? {
        Some(groups) => Layout::ByName(groups),
        None => Layout::ByClass,
    };
    let version = match (root.text("keras_version"), &layout) {
        (Some(version), _) => Version::new(Some(version)),
        (None, Layout::ByClass) => Version::new(Some("3")),
        (None, Layout::ByName(_)) if store.has_group(by_name::WHOLE_MODEL) => {
            Version::new(store.attributes(by_name::WHOLE_MODEL)?.text("keras_version"))
        }
        (None, Layout::ByName(_)) => Version::new(None),
    };
    match root.text("model_config") {
        Some(config) => {
            let config = serde_json::from_str(config).map_err(|error| format!("model_config: {error}"))?;
            of_config(store, &config, version, layout)
        }
        None => without_config(store, version, &layout),
    }
}

/// Lists the layers that a config has.
pub(super) fn of_config(store: &Store, config: &Value, version: Version, layout: Layout) -> Result<Listing, String> {
    let Model { found, convolutional, others, has_layers, .. } = Model::read(config, version);
    if !has_layers {
        // A subclassed model: its config does not have the layers.
        return without_config(store, version, &layout);
    }
    let tensors = match &layout {
        Layout::ByName(groups) => by_name::assign(store, groups, &found),
        Layout::ByClass => {
            found.iter().map(|(layer, place)| by_class::tensors(store, place, layer.bidirectional)).collect()
        }
    };
    let mut layers = Vec::new();
    for ((mut layer, _), tensors) in found.into_iter().zip(tensors) {
        if layer.rejection.is_none() {
            let sizes = tensors.as_ref().ok().and_then(|tensors| Sizes::of(store, tensors.first()?));
            layer.input_size = sizes.as_ref().map(|sizes| sizes.inputs);
            layer.units = layer.units.or(sizes.map(|sizes| sizes.units));
        }
        layers.push((layer, tensors));
    }
    Ok(Listing { layers, convolutional, others })
}

/// Lists the layers that the weights alone tell of.
fn without_config(store: &Store, version: Version, layout: &Layout) -> Result<Listing, String> {
    let mut layers = Vec::new();
    match layout {
        Layout::ByClass => {
            let bare = by_class::all(store);
            let clash = |name: &str| bare.iter().filter(|other| other.name.as_deref() == Some(name)).count() > 1;
            for layer in &bare {
                let path = || layer.names.join("/");
                let name = layer.name.clone().filter(|name| !clash(name)).unwrap_or_else(path);
                // A cell of somebody's own can hide behind this class.
                let certain = layer.class != "rnn";
                layers.extend(guessed(store, version, name, layer.bidirectional, layer.tensors.clone(), certain));
            }
        }
        Layout::ByName(groups) => {
            for group in groups {
                let group_name = group.strip_prefix("model_weights/").unwrap_or(group);
                let mut sets = by_name::sets(store, group)?.into_iter().peekable();
                let is_one = by_name::sets(store, group)?.len() <= 1;
                while let Some(set) = sets.next() {
                    let part = |owner: &str, word: &str| owner.split('/').any(|part| part.starts_with(word));
                    let backward = sets.next_if(|next| part(&set.owner, "forward_") && part(&next.owner, "backward_"));
                    let alone = is_one || (backward.is_some() && sets.peek().is_none());
                    let name = if alone { group_name.to_owned() } else { format!("{group_name}/{}", set.owner) };
                    let bidirectional = backward.is_some();
                    let tensors = [Some(set), backward].into_iter().flatten().map(|set| set.tensors).collect();
                    layers.extend(guessed(store, version, name, bidirectional, tensors, true));
                }
            }
        }
    }
    Ok(Listing { layers, convolutional: Vec::new(), others: Vec::new() })
}

/// Returns a layer that only its weights tell of, or `None` if they are not those of a recurrent layer.
fn guessed(
    store: &Store,
    version: Version,
    name: String,
    bidirectional: bool,
    tensors: Vec<Tensors>,
    certain: bool,
) -> Option<Placed> {
    let sizes = Sizes::of(store, tensors.first()?)?;
    let kind = Kind::from_sizes(sizes.columns, sizes.units)?;
    let form = sizes.bias.as_deref().and_then(|shape| bias_form(shape, sizes.columns));
    let mut notes = vec!["the file has no config: activations and direction are Keras's defaults".to_owned()];
    let cudnn = form == Some(Bias::CuDnn);
    let reset_after = match form {
        Some(form) => form != Bias::One,
        None => version.resets_after(),
    };
    if kind == Kind::Gru && form.is_none() {
        notes.push(format!("whether the reset gate applies after the product is not known: {reset_after} is assumed"));
    }
    let gates = if cudnn { "sigmoid" } else { version.gate_activation() };
    let forward = KerasDirection {
        use_bias: sizes.bias.is_some(),
        reset_after: kind == Kind::Gru && reset_after,
        cudnn,
        recurrent_activation: Activation::from_config(&Value::from(gates), version.major),
        ..unknown_direction()
    };
    let mut directions = vec![forward.clone()];
    if bidirectional {
        notes.push("how the two outputs are merged is not known: concat is assumed".to_owned());
        directions.push(KerasDirection { go_backwards: true, ..forward });
    }
    let layer = KerasLayer {
        name,
        kind: certain.then_some(kind),
        input_size: Some(sizes.inputs),
        units: Some(sizes.units),
        bidirectional,
        merge: bidirectional.then_some(Merge::Concat),
        directions,
        return_sequences: true,
        stateful: false,
        time_major: false,
        zero_output_for_mask: bidirectional,
        masking: false,
        weights_only: true,
        notes,
        rejection: None,
    };
    Some((layer, Ok(tensors)))
}

/// What the shapes of a direction's tensors tell.
struct Sizes {
    inputs: usize,
    units: usize,
    columns: usize,
    bias: Option<Vec<usize>>,
}

impl Sizes {
    fn of(store: &Store, tensors: &Tensors) -> Option<Self> {
        let matrix = |path: &String| match *store.shape(path).ok()? {
            [rows, columns] => Some((rows, columns)),
            _ => None,
        };
        match tensors {
            Tensors::Fused { kernel, recurrent, bias } => {
                let (inputs, columns) = matrix(kernel)?;
                let (units, same) = matrix(recurrent)?;
                let bias = bias.as_ref().and_then(|bias| store.shape(bias).ok());
                (columns == same).then_some(Self { inputs, units, columns, bias })
            }
            Tensors::Gates(gates) => {
                let (inputs, units) = matrix(gates.first()?.first()?)?;
                let columns = units.checked_mul(gates.len())?;
                Some(Self { inputs, units, columns, bias: Some(vec![columns]) })
            }
        }
    }
}
