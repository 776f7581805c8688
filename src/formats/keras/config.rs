//! The recurrent layers in a model's config.

use std::collections::HashMap;

use serde_json::Value;

use crate::activation::Activation;
use crate::formats::keras::layer::Merge;
use crate::formats::keras::layer::{KerasDirection, KerasLayer, Kind, Rejection};

/// A version of Keras.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Version {
    pub(super) major: u32,
    minor: u32,
    tensorflow: bool,
}

impl Version {
    /// Reads "2.2.4-tf". Files without a version are of Keras 1.
    pub(super) fn new(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self { major: 1, minor: 0, tensorflow: false } };
        let mut numbers = text.split('.').map(|number| number.parse().unwrap_or(0));
        let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        Self { major, minor, tensorflow: text.ends_with("-tf") }
    }

    /// Returns the gates' activation of layers that do not name one. TensorFlow 2 changed it before Keras 2.3 did.
    pub(super) fn gate_activation(self) -> &'static str {
        let hard = self.major < 2 || (self.major == 2 && self.minor < 3 && !self.tensorflow);
        if hard { "hard_sigmoid" } else { "sigmoid" }
    }

    /// Returns whether a GRU resets after the product if it has no bias to tell and no config.
    pub(super) fn resets_after(self) -> bool {
        self.major > 2 || (self.major == 2 && (self.minor >= 3 || self.tensorflow))
    }
}

/// A step from one group of Keras 3's files to one in it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// A layer of a model: the `index`th whose class is written like this.
    Member { class: String, index: usize },
    /// A layer that another one holds.
    Held(&'static str),
}

/// Where a layer is in its model.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    /// The names from the model's own layer down to this one.
    pub(super) names: Vec<String>,
    pub(super) steps: Vec<Step>,
    /// Keras 2 lists the weights of trainable layers before those of others.
    pub(super) trainable: bool,
}

/// The layers of a model.
pub(super) struct Model {
    pub(super) version: Version,
    pub(super) found: Vec<(KerasLayer, Place)>,
    /// Recurrent layers of no use here, and the classes of all other layers.
    pub(super) convolutional: Vec<String>,
    pub(super) others: Vec<String>,
    /// Whether the config lists layers at all; that of a subclassed model does not.
    pub(super) has_layers: bool,
    masking: bool,
}

impl Model {
    pub(super) fn read(config: &Value, version: Version) -> Self {
        let (found, convolutional, others) = (Vec::new(), Vec::new(), Vec::new());
        let mut model = Self { version, found, convolutional, others, has_layers: false, masking: false };
        let place = Place { names: Vec::new(), steps: Vec::new(), trainable: true };
        if let Some(layers) = layers_of(config) {
            model.has_layers = true;
            model.members(layers, &trained(config, place));
        }
        for (layer, _) in &mut model.found {
            layer.masking = model.masking;
        }
        model.name_apart();
        model
    }

    /// Visits the layers of a model. The depth of nesting is bounded by that of the JSON text.
    fn members(&mut self, layers: &[Value], place: &Place) {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for layer in layers {
            let class = snake_case(base_class(layer));
            let count = counts.entry(class.clone()).or_default();
            let mut inner = place.clone();
            inner.names.push(name_of(layer));
            inner.steps.push(Step::Member { class, index: *count });
            *count += 1;
            self.layer(layer, trained(layer, inner));
        }
    }

    fn layer(&mut self, node: &Value, place: Place) {
        let config = &node["config"];
        if let Some(layers) = layers_of(node) {
            return self.members(layers, &place);
        }
        match base_class(node) {
            "Masking" => self.masking = true,
            "Embedding" => self.masking |= flag(config, "mask_zero"),
            "Bidirectional" => {
                let layer = self.bidirectional(config, &place);
                self.found.extend(layer.map(|layer| (KerasLayer { notes: notes_of(node), ..layer }, place)));
                return;
            }
            class if class.starts_with("ConvLSTM") => {
                self.convolutional.push(format!("{class} {:?}", name_of(node)));
                return;
            }
            _ => {}
        }
        match self.recurrent(node) {
            Some(Cell::Plain(kind, units, direction)) => {
                let layer = self.listed(node, &place, Some(kind), units, vec![direction]);
                self.found.push((layer, place));
            }
            Some(Cell::Rejected(rejection)) => {
                let mut layer = self.listed(node, &place, None, None, vec![unknown_direction()]);
                layer.rejection = Some(rejection);
                self.found.push((layer, place));
            }
            // A wrapper, such as TimeDistributed.
            None if config["layer"].is_object() => {
                let mut inner = place;
                inner.names.push(name_of(&config["layer"]));
                inner.steps.push(Step::Held("layer"));
                self.layer(&config["layer"], trained(&config["layer"], inner));
            }
            None => self.others.push(base_class(node).to_owned()),
        }
    }

    fn bidirectional(&mut self, config: &Value, place: &Place) -> Option<KerasLayer> {
        let forward = self.recurrent(&config["layer"]);
        let backward = config.get("backward_layer").filter(|node| node.is_object());
        let backward = backward.map(|node| self.recurrent(node));
        let mut layer = self.listed(&config["layer"], place, None, None, vec![unknown_direction()]);
        layer.bidirectional = true;
        layer.stateful |= flag(config, "stateful");
        layer.merge = match config.get("merge_mode") {
            Some(Value::Null) => None,
            Some(Value::String(mode)) if mode == "sum" => Some(Merge::Sum),
            Some(Value::String(mode)) if mode == "mul" => Some(Merge::Mul),
            Some(Value::String(mode)) if mode == "ave" => Some(Merge::Ave),
            _ => Some(Merge::Concat),
        };
        match (forward, backward) {
            (Some(Cell::Plain(kind, units, forward)), None) => {
                let backward = KerasDirection { go_backwards: !forward.go_backwards, ..forward.clone() };
                (layer.kind, layer.units, layer.directions) = (Some(kind), units, vec![forward, backward]);
            }
            (Some(Cell::Plain(kind, units, forward)), Some(Some(Cell::Plain(other, more, backward))))
                if (kind, units) == (other, more) =>
            {
                (layer.kind, layer.units, layer.directions) = (Some(kind), units, vec![forward, backward]);
            }
            (Some(Cell::Rejected(rejection)), _) | (_, Some(Some(Cell::Rejected(rejection)))) => {
                layer.rejection = Some(rejection);
            }
            (Some(_), Some(_)) => {
                let what = format!("Bidirectional {:?}", place.names.last().map_or("", String::as_str));
                layer.rejection = Some(Rejection { what, why: "its directions differ in kind or units".to_owned() });
            }
            (None, _) => {
                let class = base_class(&config["layer"]);
                if class.starts_with("ConvLSTM") {
                    self.convolutional.push(format!("{class} {:?}", name_of(&config["layer"])));
                }
                return None;
            }
        }
        Some(layer)
    }

    /// Reads a layer that is recurrent by itself.
    fn recurrent(&self, node: &Value) -> Option<Cell> {
        let config = &node["config"];
        if !is_kerass(node) {
            return None;
        }
        let (kind, cudnn) = match base_class(node) {
            "LSTM" => (Kind::Lstm, false),
            "GRU" => (Kind::Gru, false),
            "SimpleRNN" => (Kind::SimpleRnn, false),
            "CuDNNLSTM" => (Kind::Lstm, true),
            "CuDNNGRU" => (Kind::Gru, true),
            "RNN" => {
                let cell = &config["cell"];
                let kind = match base_class(cell) {
                    "LSTMCell" if is_kerass(cell) => Kind::Lstm,
                    "GRUCell" if is_kerass(cell) => Kind::Gru,
                    "SimpleRNNCell" if is_kerass(cell) => Kind::SimpleRnn,
                    class => {
                        let what = format!("RNN {:?} of {class}", name_of(node));
                        let why = "only a single LSTMCell, GRUCell or SimpleRNNCell can run".to_owned();
                        return Some(Cell::Rejected(Rejection { what, why }));
                    }
                };
                return Some(Cell::Plain(
                    kind,
                    units_of(&cell["config"]),
                    self.direction(&cell["config"], config, false),
                ));
            }
            _ => return None,
        };
        Some(Cell::Plain(kind, units_of(config), self.direction(config, config, cudnn)))
    }

    /// Reads the cell's options from `cell` and those of the loop from `layer`.
    fn direction(&self, cell: &Value, layer: &Value, cudnn: bool) -> KerasDirection {
        let major = self.version.major;
        let activation = |keys: [&str; 2], default: &str| {
            let written = keys.into_iter().find_map(|key| cell.get(key));
            Activation::from_config(written.unwrap_or(&Value::from(default)), major)
        };
        let (activation, recurrent_activation) = if cudnn {
            (Ok(Activation::Tanh), Ok(Activation::Sigmoid))
        } else {
            let gates = activation(["recurrent_activation", "inner_activation"], self.version.gate_activation());
            (activation(["activation", "activation"], "tanh"), gates)
        };
        KerasDirection {
            use_bias: cell.get("use_bias").and_then(Value::as_bool).unwrap_or(true),
            reset_after: cudnn || flag(cell, "reset_after"),
            go_backwards: flag(layer, "go_backwards"),
            cudnn,
            activation,
            recurrent_activation,
        }
    }

    fn listed(
        &self,
        node: &Value,
        place: &Place,
        kind: Option<Kind>,
        units: Option<usize>,
        directions: Vec<KerasDirection>,
    ) -> KerasLayer {
        let config = &node["config"];
        KerasLayer {
            name: place.names.last().cloned().unwrap_or_default(),
            kind,
            input_size: None,
            units,
            bidirectional: false,
            merge: None,
            directions,
            return_sequences: flag(config, "return_sequences"),
            stateful: flag(config, "stateful"),
            time_major: flag(config, "time_major"),
            zero_output_for_mask: flag(config, "zero_output_for_mask"),
            masking: false,
            weights_only: false,
            notes: notes_of(node),
            rejection: None,
        }
    }

    /// Puts the names of the models before names that occur more than once.
    fn name_apart(&mut self) {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for (layer, _) in &self.found {
            *counts.entry(layer.name.clone()).or_default() += 1;
        }
        for (layer, place) in &mut self.found {
            if counts.get(&layer.name).is_some_and(|&count| count > 1) {
                layer.name = place.names.join("/");
            }
        }
    }
}

/// Returns what a model's graph does with a layer beyond calling it.
fn notes_of(node: &Value) -> Vec<String> {
    let is_given = |state: &Value| !state.is_null() && state.as_array().is_none_or(|states| !states.is_empty());
    // Keras 3: an object with the arguments. Before: a list of the inputs, each with its keywords at the end, where the
    // states may be inputs like the first one.
    let has_state = |call: &Value| match call.as_array() {
        None => is_given(&call["kwargs"]["initial_state"]),
        Some(inputs) => inputs.len() > 1 || inputs.iter().any(|input| is_given(&input[3]["initial_state"])),
    };
    let has_state = node["inbound_nodes"].as_array().is_some_and(|calls| calls.iter().any(has_state));
    Vec::from_iter(has_state.then(|| "initial_state given by the model's graph, which is not taken over".to_owned()))
}

enum Cell {
    Plain(Kind, Option<usize>, KerasDirection),
    Rejected(Rejection),
}

/// Returns a direction with what most layers have.
pub(super) fn unknown_direction() -> KerasDirection {
    KerasDirection {
        use_bias: true,
        reset_after: false,
        go_backwards: false,
        cudnn: false,
        activation: Ok(Activation::Tanh),
        recurrent_activation: Ok(Activation::Sigmoid),
    }
}

/// Returns the layers of a model's config: a list before Keras 2.2.3, an object with a list since then.
fn layers_of(node: &Value) -> Option<&Vec<Value>> {
    node["config"].as_array().or_else(|| node["config"]["layers"].as_array())
}

/// Returns the class without the package that it was registered in.
fn base_class(node: &Value) -> &str {
    let class = node["class_name"].as_str().unwrap_or_default();
    class.rsplit('>').next().unwrap_or(class)
}

/// Returns whether a class of this name is Keras's own one.
fn is_kerass(node: &Value) -> bool {
    let module = node["module"].as_str();
    let registered = node["class_name"].as_str().is_some_and(|class| class.contains('>'));
    !registered
        && module.is_none_or(|module| ["keras", "tf_keras", "tensorflow"].iter().any(|own| module.starts_with(own)))
}

fn name_of(node: &Value) -> String {
    let name = node["config"]["name"].as_str().or_else(|| node["name"].as_str());
    name.unwrap_or_default().to_owned()
}

fn trained(node: &Value, mut place: Place) -> Place {
    place.trainable &= node["config"]["trainable"].as_bool().unwrap_or(true);
    place
}

fn flag(config: &Value, key: &str) -> bool {
    config[key].as_bool().unwrap_or(false)
}

/// Returns the units, which Keras 1 called output_dim.
fn units_of(config: &Value) -> Option<usize> {
    let units = config["units"].as_f64().or_else(|| config["output_dim"].as_f64())?;
    (units.fract() == 0.0 && units > 0.0).then_some(units as usize)
}

/// Writes a class's name as Keras 3 names its groups: `simple_rnn` for SimpleRNN.
fn snake_case(class: &str) -> String {
    let letters: Vec<char> = class.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut name = String::new();
    // What the match of a capital and the small letters after it has used up cannot be the letter before the next one.
    let mut used = 0;
    for (at, &letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| letters.get(before));
        let small_after = letters.get(at + 1).is_some_and(char::is_ascii_lowercase);
        if letter.is_ascii_uppercase() {
            let starts_word = small_after && at > used;
            let after_small = before.is_some_and(char::is_ascii_lowercase);
            if starts_word {
                let tail = letters.iter().skip(at + 1).take_while(|letter| letter.is_ascii_lowercase()).count();
                used = at + 1 + tail;
            }
            if starts_word || after_small {
                name.push('_');
            }
        }
        name.extend(letter.to_lowercase());
    }
    name
}
