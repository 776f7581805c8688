//! PyTorch's parameter names, and the model that a set of them describes.
//!
//! `weight_ih_l{k}[_reverse]`, `weight_hh_…`, `bias_ih_…`, `bias_hh_…` (`torch.nn.LSTM`, "Variables").

use std::fmt;

use crate::cell_kind::CellKind;
use crate::config::RecurrentConfig;
use crate::error::{Error, OtherModel, Result};
use crate::form::Form;
use crate::real::Real;
use crate::tensor::Tensor;
use crate::weights::LayerWeights;

/// The role of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParameterKind {
    WeightIh,
    WeightHh,
    BiasIh,
    BiasHh,
    WeightHr,
    Peephole,
}

impl ParameterKind {
    pub(crate) const ALL: [Self; 6] =
        [Self::WeightIh, Self::WeightHh, Self::BiasIh, Self::BiasHh, Self::WeightHr, Self::Peephole];

    /// Returns the name in a cell; in a layer, the name before `_l{k}`.
    pub(crate) const fn stem(self) -> &'static str {
        match self {
            Self::WeightIh => "weight_ih",
            Self::WeightHh => "weight_hh",
            Self::BiasIh => "bias_ih",
            Self::BiasHh => "bias_hh",
            Self::WeightHr => "weight_hr",
            Self::Peephole => "peephole",
        }
    }

    /// Returns `Ok` if a model has the parameter; otherwise the argument that rules it out.
    pub(crate) fn is_in(self, config: &RecurrentConfig) -> Result<(), &'static str> {
        match self {
            Self::BiasIh | Self::BiasHh if !config.bias => Err("bias=false"),
            Self::WeightHr if !config.is_projected() => Err("proj_size=0"),
            Self::Peephole if !config.form.peepholes => Err("peepholes=false"),
            _ => Ok(()),
        }
    }

    /// Returns the shape of the parameter in a layer.
    pub(crate) fn shape(self, config: &RecurrentConfig, layer: usize) -> Vec<usize> {
        let rows = config.gate_rows();
        match self {
            Self::WeightIh => vec![rows, config.layer_input_size(layer)],
            Self::WeightHh => vec![rows, config.recurrent_size()],
            Self::BiasIh | Self::BiasHh => vec![rows],
            Self::WeightHr => vec![config.recurrent_size(), config.hidden_size],
            Self::Peephole => vec![config.hidden_size.saturating_mul(3)],
        }
    }
}

/// One parameter of a stack of layers; displays as PyTorch's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) kind: ParameterKind,
    pub(crate) layer: usize,
    pub(crate) direction: usize,
}

impl Parameter {
    /// Returns every parameter of a model with its shape, in PyTorch's order.
    pub(crate) fn of(config: &RecurrentConfig) -> impl Iterator<Item = (Self, Vec<usize>)> {
        config.layer_directions().flat_map(move |(layer, direction)| {
            let kinds = ParameterKind::ALL.into_iter().filter(|kind| kind.is_in(config).is_ok());
            kinds.map(move |kind| (Self { kind, layer, direction }, kind.shape(config, layer)))
        })
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.direction == 1 { "_reverse" } else { "" };
        write!(f, "{}_l{}{suffix}", self.kind.stem(), self.layer)
    }
}

/// Returns every parameter of a layer's weights by name, in PyTorch's order; the index of `layers` is
/// layer·D + direction.
pub(crate) fn named<F: Real>(
    layers: &[LayerWeights<F>],
    directions: usize,
) -> impl Iterator<Item = (String, &Tensor<F>)> {
    layers.iter().enumerate().flat_map(move |(index, weights)| {
        let (layer, direction) = (index / directions, index % directions);
        let name = move |kind| Parameter { kind, layer, direction }.to_string();
        ParameterKind::ALL.into_iter().filter_map(move |kind| Some((name(kind), weights.get(kind)?)))
    })
}

/// The naming of the parameters of a layer or a cell (`torch.nn.LSTM` and `torch.nn.LSTMCell`, "Variables").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// `{stem}_l{k}[_reverse]`
    Layer,
    /// `{stem}`
    Cell,
}

impl Naming {
    /// Returns the word for the module in messages.
    pub(crate) const fn what(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Cell => "cell",
        }
    }

    /// Returns the full name of a parameter.
    pub(crate) fn name(self, prefix: &str, parameter: Parameter) -> String {
        match self {
            Self::Layer => format!("{prefix}{parameter}"),
            Self::Cell => format!("{prefix}{}", parameter.kind.stem()),
        }
    }

    /// Describes a configuration in words: a cell is one layer, and is named after its own class.
    pub(crate) fn describe(self, config: &RecurrentConfig) -> String {
        match self {
            Self::Layer => config.to_string(),
            Self::Cell => config.to_string().replacen('(', "Cell(", 1),
        }
    }

    /// Returns the prefixes under which there is a layer or cell: everything before its first weight.
    pub(crate) fn prefixes<'a>(self, names: impl Iterator<Item = &'a str>) -> Vec<String> {
        let first = self.name("", Parameter { kind: ParameterKind::WeightIh, layer: 0, direction: 0 });
        let mut found: Vec<String> = names.filter_map(|n| n.strip_suffix(first.as_str())).map(str::to_owned).collect();
        found.sort();
        found
    }

    /// Returns the kind of the layer or cell under `prefix`, by the rows of its first `weight_hh`: G·H.
    pub(crate) fn kind<'a>(self, prefix: &str, shape_of: impl Fn(&str) -> Option<&'a [usize]>) -> Option<CellKind> {
        let shape = |kind| shape_of(&self.name(prefix, Parameter { kind, layer: 0, direction: 0 }));
        let &[rows, recurrent] = shape(ParameterKind::WeightHh)? else { return None };
        let hidden = match shape(ParameterKind::WeightHr) {
            Some(&[_, hidden]) => hidden,
            _ => recurrent,
        };
        let gates = rows.checked_div(hidden).filter(|gates| gates * hidden == rows)?;
        Some(CellKind::of_gates(gates)?.0)
    }

    /// Returns the type that reads a layer or cell of this kind: PyTorch's name in Rust's spelling.
    fn reader(self, kind: CellKind) -> String {
        let (first, rest) = kind.name().split_at(1);
        let suffix = if self == Self::Cell { "Cell" } else { "" };
        format!("{first}{}{suffix}", rest.to_lowercase())
    }

    const fn other(self) -> Self {
        match self {
            Self::Layer => Self::Cell,
            Self::Cell => Self::Layer,
        }
    }

    /// Splits a name without its prefix into stem, layer and direction; returns `None` for any other name. PyTorch's
    /// layer numbers have no leading zeros.
    fn parse(self, name: &str) -> Option<(&str, usize, usize)> {
        match self {
            Self::Layer => {
                let (name, direction) = name.strip_suffix("_reverse").map_or((name, 0), |forward| (forward, 1));
                let (stem, digits) = name.rsplit_once("_l")?;
                let layer: usize = digits.parse().ok()?;
                (is_stem(stem) && layer.to_string() == digits).then_some((stem, layer, direction))
            }
            Self::Cell => is_stem(name).then_some((name, 0, 0)),
        }
    }
}

fn is_stem(name: &str) -> bool {
    ParameterKind::ALL.iter().any(|kind| kind.stem() == name)
}

/// A parameter's full name with its stem, layer and direction.
type Named<'a> = (&'a str, (&'a str, usize, usize));

/// Infers the configuration of the layer or cell under `prefix` from the names and shapes of its tensors; it must be of
/// `cell`'s kind.
///
/// Sizes come from the first layer's `weight_ih`, `weight_hh` and, with a projection, `weight_hr`; the rest from which
/// names exist. A name that no layer of that configuration has is an error, as it would otherwise be dropped silently.
pub(crate) fn infer<'a>(
    naming: Naming,
    cell: CellKind,
    prefix: &str,
    names: impl Iterator<Item = &'a str> + Clone,
    shape_of: impl Fn(&str) -> Option<&'a [usize]>,
) -> Result<RecurrentConfig> {
    let first = |kind| naming.name(prefix, Parameter { kind, layer: 0, direction: 0 });
    let input = first(ParameterKind::WeightIh);
    let Some(weight_ih) = shape_of(&input) else {
        let is_own = |name: &&str| name.strip_prefix(prefix).is_some_and(|short| naming.parse(short).is_some());
        if let Some(name) = names.clone().find(is_own) {
            return Err(Error::MissingTensor { name: input, why: format!("{name} exists") });
        }
        return Err(no_model(naming, prefix, input, names, shape_of));
    };
    let recurrent = first(ParameterKind::WeightHh);
    let Some(weight_hh) = shape_of(&recurrent) else {
        return Err(Error::MissingTensor { name: recurrent, why: format!("{input} exists") });
    };
    let own = own_parameters(naming, prefix, names)?;
    let &[rows, input_size] = weight_ih else { return Err(not_two_dimensional(&input, weight_ih)) };
    let &[hh_rows, recurrent_size] = weight_hh else { return Err(not_two_dimensional(&recurrent, weight_hh)) };
    let (hidden_size, proj_size) = match own.iter().find(|(_, (stem, ..))| *stem == "weight_hr") {
        None => (recurrent_size, 0),
        Some((name, _)) if naming == Naming::Cell => {
            let why = "a cell has no projection".to_owned();
            return Err(Error::UnexpectedTensor { name: (*name).to_owned(), why });
        }
        Some((name, _)) => (projected_from(cell, prefix, name, recurrent_size, &shape_of)?, recurrent_size),
    };
    if hidden_size == 0 || hidden_size.checked_mul(cell.gates()) != Some(hh_rows) {
        return Err(not_of_this_cell(cell, &recurrent, weight_hh, hidden_size));
    }
    if rows != hh_rows {
        return Err(shape_error(&input, format!("[{hh_rows}, I]"), weight_ih));
    }
    let peephole = own.iter().find(|(_, (stem, ..))| *stem == "peephole");
    if let Some((name, _)) = peephole.filter(|_| naming == Naming::Cell || cell != CellKind::Lstm) {
        let why = "only an LSTM layer has peepholes".to_owned();
        return Err(Error::UnexpectedTensor { name: (*name).to_owned(), why });
    }
    let config = RecurrentConfig {
        form: Form { peepholes: peephole.is_some(), ..Form::default() },
        proj_size,
        num_layers: count_layers(&own)?,
        bias: own.iter().any(|(_, (stem, ..))| stem.starts_with("bias")),
        bidirectional: own.iter().any(|(_, (_, _, direction))| *direction == 1),
        ..RecurrentConfig::one_layer(cell, input_size, hidden_size)
    };
    check_shapes(naming, &config, prefix, shape_of)?;
    Ok(config)
}

/// Returns the error for a file without a layer or cell under a prefix. It names what the file has instead, as a cell's
/// file is easily read as a layer's.
fn no_model<'a>(
    naming: Naming,
    prefix: &str,
    missing: String,
    names: impl Iterator<Item = &'a str> + Clone,
    shape_of: impl Fn(&str) -> Option<&'a [usize]>,
) -> Error {
    let (found, other) = (naming.prefixes(names.clone()), naming.other());
    let mut others = other.prefixes(names);
    if others.iter().any(|other| other == prefix) {
        others = vec![prefix.to_owned()];
    } else if !found.is_empty() {
        others.clear();
    }
    let reader = |prefix: &str| other.kind(prefix, &shape_of).map(|kind| other.reader(kind));
    let others = others.into_iter().map(|prefix| OtherModel { reader: reader(&prefix), prefix }).collect();
    Error::NoModel { what: naming.what(), prefix: prefix.to_owned(), missing, found, others }
}

/// Checks that every parameter of `config` exists and has its shape.
fn check_shapes<'a>(
    naming: Naming,
    config: &RecurrentConfig,
    prefix: &str,
    shape_of: impl Fn(&str) -> Option<&'a [usize]>,
) -> Result<()> {
    for (layer, direction) in config.layer_directions() {
        for kind in ParameterKind::ALL.into_iter().filter(|kind| kind.is_in(config).is_ok()) {
            let name = naming.name(prefix, Parameter { kind, layer, direction });
            match shape_of(&name) {
                Some(got) => check_shape(&name, &kind.shape(config, layer), got)?,
                None => {
                    let why = format!("the other names under {prefix:?} describe {}", naming.describe(config));
                    return Err(Error::MissingTensor { name, why });
                }
            }
        }
    }
    Ok(())
}

/// Checks the shape of one parameter.
pub(super) fn check_shape(name: &str, expected: &[usize], got: &[usize]) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(shape_error(name, format!("{expected:?}"), got))
}

/// Returns the parameters under a prefix. A name that differs from a parameter's only in its layer number is an error.
fn own_parameters<'a>(naming: Naming, prefix: &str, names: impl Iterator<Item = &'a str>) -> Result<Vec<Named<'a>>> {
    let mut own = Vec::new();
    for name in names {
        let Some(short) = name.strip_prefix(prefix) else { continue };
        if let Some(parts) = naming.parse(short) {
            own.push((name, parts));
        } else if naming == Naming::Cell {
            continue;
        } else if ParameterKind::ALL.iter().any(|kind| short.starts_with(&format!("{}_l", kind.stem()))) {
            let why = "it is named like a parameter, except for its layer number".to_owned();
            return Err(Error::UnexpectedTensor { name: name.to_owned(), why });
        }
    }
    Ok(own)
}

fn shape_error(name: &str, expected: String, got: &[usize]) -> Error {
    Error::Shape { what: format!("tensor {name}"), expected, got: got.to_vec() }
}

fn not_two_dimensional(name: &str, got: &[usize]) -> Error {
    shape_error(name, "two dimensions".to_owned(), got)
}

/// Returns H of a layer whose h is projected to `recurrent_size` values; `name` is one of its projections.
fn projected_from<'a>(
    cell: CellKind,
    prefix: &str,
    name: &str,
    recurrent_size: usize,
    shape_of: impl Fn(&str) -> Option<&'a [usize]>,
) -> Result<usize> {
    if !cell.projects() {
        let why = format!("only an LSTM has a projection, and this is read as a {}", cell.name());
        return Err(Error::UnexpectedTensor { name: name.to_owned(), why });
    }
    let first = format!("{prefix}weight_hr_l0");
    match shape_of(&first) {
        None => Err(Error::MissingTensor { name: first, why: format!("{name} exists") }),
        Some(&[p, h]) if p == recurrent_size && 0 < p && p < h => Ok(h),
        Some(got) => {
            let expected = format!("[{recurrent_size}, H] with H > {recurrent_size} > 0");
            Err(shape_error(&first, expected, got))
        }
    }
}

/// Returns the error for a `weight_hh` with the rows of another cell.
fn not_of_this_cell(cell: CellKind, name: &str, weight_hh: &[usize], hidden_size: usize) -> Error {
    let rows = |gates| if gates == 1 { "H".to_owned() } else { format!("{gates}·H") };
    let gates = weight_hh[0].checked_div(hidden_size).filter(|gates| gates * hidden_size == weight_hh[0]);
    let other = match gates.and_then(|gates| Some((gates, CellKind::of_gates(gates)?.1))) {
        Some((gates, one)) => format!(" ({} rows are {one}'s)", rows(gates)),
        None => String::new(),
    };
    let columns = if weight_hh[1] == hidden_size { "H" } else { "P" };
    let expected = format!("[{}, {columns}] of the {}{other}", rows(cell.gates()), cell.name());
    shape_error(name, expected, weight_hh)
}

fn count_layers(own: &[Named<'_>]) -> Result<usize> {
    let highest = own.iter().max_by_key(|(_, (_, layer, _))| *layer);
    let Some((name, (_, layer, _))) = highest else { return Ok(1) };
    // Every layer has a weight_ih, so a number beyond the count of names means a gap, and counting up to it is
    // pointless.
    if *layer >= own.len() {
        let why = "layers are numbered from 0 without a gap".to_owned();
        return Err(Error::UnexpectedTensor { name: (*name).to_owned(), why });
    }
    Ok(layer + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_as_written() {
        for kind in ParameterKind::ALL {
            for (layer, direction) in [(0, 0), (1, 1), (12, 0)] {
                let name = Parameter { kind, layer, direction }.to_string();
                assert_eq!(Naming::Layer.parse(&name), Some((kind.stem(), layer, direction)), "{name}");
            }
        }
        for other in ["weight_ih", "weight_ih_l", "weight_ih_l01", "weight_ih_l-1", "head.weight", "weight_xx_l0", ""] {
            assert_eq!(Naming::Layer.parse(other), None, "{other}");
        }
    }
}
