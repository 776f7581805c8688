//! Where Keras 1 and 2 and `.h5` files of Keras 3 keep weights: in one group per layer of the model, by their names.

use std::collections::HashMap;

use crate::formats::keras::config::Place;
use crate::formats::keras::layer::KerasLayer;
use crate::formats::keras::store::Store;

/// The paths of one direction's tensors.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tensors {
    /// All gates in one tensor.
    Fused { kernel: String, recurrent: String, bias: Option<String> },
    /// Keras 1: kernel, recurrent kernel and bias of each gate, in the order of Keras 2.
    Gates(Vec<[String; 3]>),
}

/// One direction's tensors in a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Set {
    /// What stands before the tensors' own names: `bidirectional/forward_lstm/lstm_cell`.
    pub(super) owner: String,
    pub(super) tensors: Tensors,
}

/// The layers' groups: those of a whole model, or those of save_weights, which are at the root.
pub(super) const WHOLE_MODEL: &str = "model_weights";

/// Returns the groups of a file's layers in the model's order, or `None` if the file is not of this kind.
pub(super) fn groups(store: &Store) -> Result<Option<Vec<String>>, String> {
    let root = if store.has_group(WHOLE_MODEL) { WHOLE_MODEL } else { "" };
    let names = store.attributes(root)?.list("layer_names");
    let prefix = if root.is_empty() { String::new() } else { format!("{root}/") };
    Ok(names.map(|names| names.into_iter().map(|name| format!("{prefix}{name}")).collect()))
}

/// Returns the recurrent tensors of a layer's group in the order of the file.
pub(super) fn sets(store: &Store, group: &str) -> Result<Vec<Set>, String> {
    let names = store.attributes(group)?.list("weight_names").unwrap_or_default();
    let mut sets = Vec::new();
    let mut rest = names.as_slice();
    while let Some((_, after)) = rest.split_first() {
        rest = match fused(group, rest).or_else(|| gates(group, rest)) {
            Some((set, used)) => {
                sets.push(set);
                rest.get(used..).unwrap_or_default()
            }
            None => after,
        };
    }
    Ok(sets)
}

/// Reads kernel, recurrent_kernel and perhaps bias (Keras 1: W, U, b) at the beginning of a list of names.
fn fused(group: &str, names: &[String]) -> Option<(Set, usize)> {
    let path = |name: &String| format!("{group}/{name}");
    let (first, second) = (names.first()?, names.get(1)?);
    for [kernel, recurrent, bias] in [["/kernel", "/recurrent_kernel", "/bias"], ["_W", "_U", "_b"]] {
        let Some(owner) = owner(first, kernel) else { continue };
        let same = |name: &&String, part: &str| self::owner(name, part) == Some(owner);
        if !same(&second, recurrent) {
            continue;
        }
        let bias = names.get(2).filter(|name| same(name, bias)).map(path);
        let used = if bias.is_some() { 3 } else { 2 };
        let tensors = Tensors::Fused { kernel: path(first), recurrent: path(second), bias };
        return Some((Set { owner: owner.to_owned(), tensors }, used));
    }
    None
}

/// Reads Keras 1's tensors of single gates at the beginning of a list of names.
fn gates(group: &str, names: &[String]) -> Option<(Set, usize)> {
    // The order in the file, and where each gate goes.
    for (letters, places) in [(&["i", "c", "f", "o"][..], &[0, 2, 1, 3][..]), (&["z", "r", "h"][..], &[0, 1, 2][..])] {
        let Some(owner) = owner(names.first()?, &format!("_W_{}", letters.first()?)) else { continue };
        let wanted = letters.iter().flat_map(|gate| ["W", "U", "b"].map(|part| format!("_{part}_{gate}")));
        let used = letters.len() * 3;
        let here = names.get(..used)?;
        if !here.iter().zip(wanted).all(|(name, part)| self::owner(name, &part) == Some(owner)) {
            continue;
        }
        let mut gates: Vec<(usize, [String; 3])> = here
            .as_chunks::<3>()
            .0
            .iter()
            .zip(places)
            .map(|(names, &place)| (place, names.each_ref().map(|name| format!("{group}/{name}"))))
            .collect();
        gates.sort_by_key(|(place, _)| *place);
        let tensors = Tensors::Gates(gates.into_iter().map(|(_, gate)| gate).collect());
        return Some((Set { owner: owner.to_owned(), tensors }, used));
    }
    None
}

/// Returns what is before `part` in a name, without TensorFlow's `:0` and the number that it adds to a name in use.
fn owner<'a>(name: &'a str, part: &str) -> Option<&'a str> {
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    let bare = |name: &'a str| match name.rsplit_once('_') {
        Some((before, number)) if !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()) => before,
        _ => name,
    };
    name.strip_suffix(part).or_else(|| bare(name).strip_suffix(part))
}

/// Returns the tensors of each layer, or why they are not known.
pub(super) fn assign(
    store: &Store,
    groups: &[String],
    found: &[(KerasLayer, Place)],
) -> Vec<Result<Vec<Tensors>, String>> {
    let mut assigned: Vec<Result<Vec<Tensors>, String>> =
        vec![Err("its weights are not in the file".to_owned()); found.len()];
    // The layers in each layer of the model, by their positions.
    let mut inside: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, (_, place)) in found.iter().enumerate() {
        inside.entry(place.names.first().map_or("", String::as_str)).or_default().push(at);
    }
    let named: HashMap<&str, &String> =
        groups.iter().map(|group| (group.strip_prefix("model_weights/").unwrap_or(group), group)).collect();
    for (name, members) in inside {
        let Some(group) = named.get(name) else { continue };
        let results = match sets(store, group) {
            Ok(sets) => share(&sets, &members, found),
            Err(why) => vec![Err(why); members.len()],
        };
        for (at, result) in members.into_iter().zip(results) {
            if let Some(place) = assigned.get_mut(at) {
                *place = result;
            }
        }
    }
    assigned
}

/// Shares the tensors of one group among the layers in it: by name where that is clear, else by order.
fn share(sets: &[Set], members: &[usize], found: &[(KerasLayer, Place)]) -> Vec<Result<Vec<Tensors>, String>> {
    let members: Vec<&(KerasLayer, Place)> = members.iter().filter_map(|&at| found.get(at)).collect();
    let needs = |layer: &KerasLayer| if layer.bidirectional { 2 } else { 1 };
    // In the order of Keras: trainable layers before the others.
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|&at| members.get(at).is_some_and(|(_, place)| !place.trainable));
    let complete = members.iter().map(|(layer, _)| needs(layer)).sum::<usize>() == sets.len();
    let mut starts = vec![None; members.len()];
    let mut next = 0;
    for at in order {
        if let (true, Some(start), Some((layer, _))) = (complete, starts.get_mut(at), members.get(at)) {
            *start = Some(next);
            next += needs(layer);
        }
    }
    members
        .iter()
        .zip(starts)
        .map(|((layer, place), start)| {
            let name = place.names.last().map_or("", String::as_str);
            let named: Vec<&Set> = sets.iter().filter(|set| set.owner.split('/').any(|part| part == name)).collect();
            let chosen: Vec<&Set> = match start {
                _ if named.len() == needs(layer) && members.len() > 1 => named,
                Some(start) => sets.iter().skip(start).take(needs(layer)).collect(),
                None => {
                    return Err(format!(
                        "which of the weights in its group are its own is not clear: {} sets",
                        sets.len()
                    ));
                }
            };
            Ok(chosen.into_iter().map(|set| set.tensors.clone()).collect())
        })
        .collect()
}
