//! PyTorch's parameter names, and the model that a set of them describes.
//!
//! `weight_ih_l{k}[_reverse]`, `weight_hh_…`, `bias_ih_…`, `bias_hh_…` (`torch.nn.LSTM`, "Variables").

use std::fmt;

use crate::cell::CellKind;
use crate::config::RecurrentConfig;
use crate::{Error, Result};

/// What a parameter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParameterKind {
    WeightIh,
    WeightHh,
    BiasIh,
    BiasHh,
    WeightHr,
}

impl ParameterKind {
    pub(crate) const ALL: [Self; 5] = [Self::WeightIh, Self::WeightHh, Self::BiasIh, Self::BiasHh, Self::WeightHr];

    const fn stem(self) -> &'static str {
        match self {
            Self::WeightIh => "weight_ih",
            Self::WeightHh => "weight_hh",
            Self::BiasIh => "bias_ih",
            Self::BiasHh => "bias_hh",
            Self::WeightHr => "weight_hr",
        }
    }

    /// Whether a model has the parameter; if not, by which of its arguments.
    pub(crate) fn is_in(self, config: &RecurrentConfig) -> Result<(), &'static str> {
        match self {
            Self::BiasIh | Self::BiasHh if !config.bias => Err("bias=false"),
            Self::WeightHr if !config.is_projected() => Err("proj_size=0"),
            _ => Ok(()),
        }
    }

    /// The shape of the parameter in a layer.
    pub(crate) fn shape(self, config: &RecurrentConfig, layer: usize) -> Vec<usize> {
        let rows = config.gate_rows();
        match self {
            Self::WeightIh => vec![rows, config.layer_input_size(layer)],
            Self::WeightHh => vec![rows, config.recurrent_size()],
            Self::BiasIh | Self::BiasHh => vec![rows],
            Self::WeightHr => vec![config.recurrent_size(), config.hidden_size],
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

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.direction == 1 { "_reverse" } else { "" };
        write!(f, "{}_l{}{suffix}", self.kind.stem(), self.layer)
    }
}

/// What parameters of any recurrent layer are called before `_l{k}`; `weight_hr` is a projection's.
const STEMS: [&str; 5] = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"];

/// Splits `{stem}_l{k}[_reverse]`; `None` for any other name. Leading zeros are no layer number of PyTorch's.
fn parse(name: &str) -> Option<(&str, usize, usize)> {
    let (name, direction) = name.strip_suffix("_reverse").map_or((name, 0), |forward| (forward, 1));
    let (stem, digits) = name.rsplit_once("_l")?;
    let layer: usize = digits.parse().ok()?;
    (STEMS.contains(&stem) && layer.to_string() == digits).then_some((stem, layer, direction))
}

/// The prefixes under which there is a recurrent layer: whatever stands before a `weight_ih_l0`.
pub(crate) fn prefixes<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut found: Vec<String> = names.filter_map(|n| n.strip_suffix("weight_ih_l0")).map(str::to_owned).collect();
    found.sort();
    found
}

/// Infers a layer's configuration from the names and shapes of the tensors under `prefix`; it must be of `cell`'s kind.
///
/// Sizes come from `weight_ih_l0` and `weight_hh_l0`, the rest from which names are there. A name that no layer of that
/// configuration has (a projection, a layer after a gap) is an error: it would be dropped in silence otherwise.
pub(crate) fn infer<'a>(
    cell: CellKind,
    prefix: &str,
    names: impl Iterator<Item = &'a str> + Clone,
    shape_of: impl Fn(&str) -> Option<&'a [usize]>,
) -> Result<RecurrentConfig> {
    let first = format!("{prefix}weight_ih_l0");
    let Some(weight_ih) = shape_of(&first) else {
        return Err(Error::NoModel { prefix: prefix.to_owned(), found: prefixes(names) });
    };
    let recurrent = format!("{prefix}weight_hh_l0");
    let Some(weight_hh) = shape_of(&recurrent) else {
        return Err(Error::MissingTensor { name: recurrent, why: format!("{first} is there") });
    };
    let own: Vec<(&str, (&str, usize, usize))> =
        names.clone().filter_map(|name| name.strip_prefix(prefix).and_then(parse).map(|parts| (name, parts))).collect();
    let odd = |name: &&str| {
        let own =
            name.strip_prefix(prefix).filter(|own| STEMS.iter().any(|stem| own.starts_with(&format!("{stem}_l"))));
        own.is_some_and(|own| parse(own).is_none())
    };
    if let Some(name) = names.clone().find(odd) {
        let why = "it is named like a parameter, but for its layer number".to_owned();
        return Err(Error::UnexpectedTensor { name: name.to_owned(), why });
    }
    let odd = |name: &&str| {
        let own =
            name.strip_prefix(prefix).filter(|own| STEMS.iter().any(|stem| own.starts_with(&format!("{stem}_l"))));
        own.is_some_and(|own| parse(own).is_none())
    };
    if let Some(name) = names.clone().find(odd) {
        let why = "it is named like a parameter, but for its layer number".to_owned();
        return Err(Error::UnexpectedTensor { name: name.to_owned(), why });
    }
    let (&[rows, input_size], &[hh_rows, recurrent_size]) = (weight_ih, weight_hh) else {
        let (what, got) = if weight_ih.len() == 2 { (recurrent, weight_hh) } else { (first, weight_ih) };
        return Err(Error::Shape { what, expected: "two dimensions".to_owned(), got: got.to_vec() });
    };
    let (hidden_size, proj_size) = match own.iter().find(|(_, (stem, ..))| *stem == "weight_hr") {
        None => (recurrent_size, 0),
        Some((name, _)) if cell != CellKind::Lstm => {
            let why = format!("a projection is an LSTM's, and this is read as a {}", cell.name());
            return Err(Error::UnexpectedTensor { name: (*name).to_owned(), why });
        }
        Some((name, _)) => {
            let what = format!("{prefix}weight_hr_l0");
            let Some(weight_hr) = shape_of(&what) else {
                return Err(Error::MissingTensor { name: what, why: format!("{name} is there") });
            };
            match *weight_hr {
                [p, h] if p == recurrent_size && 0 < p && p < h => (h, p),
                _ => {
                    let expected = format!("[{recurrent_size}, H] with H > {recurrent_size} > 0");
                    return Err(Error::Shape { what, expected, got: weight_hr.to_vec() });
                }
            }
        }
    };
    if hidden_size == 0 || hidden_size.checked_mul(cell.gates()) != Some(hh_rows) {
        let rows = |gates| if gates == 1 { "H".to_owned() } else { format!("{gates}·H") };
        let gates = hh_rows.checked_div(hidden_size).filter(|gates| gates * hidden_size == hh_rows);
        let other = match gates.and_then(|gates| Some((gates, CellKind::of_gates(gates)?.1))) {
            Some((gates, name)) => format!(" ({} rows are {name}'s)", rows(gates)),
            None => String::new(),
        };
        let columns = if proj_size > 0 { "P" } else { "H" };
        let expected = format!("[{}, {columns}] of the {}{other}", rows(cell.gates()), cell.name());
        return Err(Error::Shape { what: recurrent, expected, got: weight_hh.to_vec() });
    }
    if rows != hh_rows {
        return Err(Error::Shape { what: first, expected: format!("[{hh_rows}, I]"), got: weight_ih.to_vec() });
    }
    let layers = own.iter().map(|(_, (_, layer, _))| layer.saturating_add(1)).max().unwrap_or(1);
    // Every layer has a weight_ih, so a higher number than there are names is a gap, and no reason to count up to it.
    if layers > own.len() {
        let last = own.iter().max_by_key(|(_, (_, layer, _))| *layer).map_or("", |(name, _)| name);
        return Err(Error::UnexpectedTensor {
            name: last.to_owned(),
            why: "layers are numbered from 0 without a gap".to_owned(),
        });
    }
    Ok(RecurrentConfig {
        cell,
        input_size,
        hidden_size,
        proj_size,
        num_layers: layers,
        bias: own.iter().any(|(_, (stem, ..))| stem.starts_with("bias")),
        batch_first: false,
        bidirectional: own.iter().any(|(_, (_, _, direction))| *direction == 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_as_written() {
        for kind in ParameterKind::ALL {
            for (layer, direction) in [(0, 0), (1, 1), (12, 0)] {
                let name = Parameter { kind, layer, direction }.to_string();
                assert_eq!(parse(&name), Some((kind.stem(), layer, direction)), "{name}");
            }
        }
        for other in ["weight_ih", "weight_ih_l", "weight_ih_l01", "weight_ih_l-1", "head.weight", "weight_xx_l0", ""] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
