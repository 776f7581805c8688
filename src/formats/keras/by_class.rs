//! Where Keras 3 (and TensorFlow's Keras since 2.12) keeps weights: in groups by class and counter.

use crate::formats::keras::by_name::Tensors;
use crate::formats::keras::config::{Place, Step};
use crate::formats::keras::store::Store;

/// The names of the group of a model's layers. TensorFlow's Keras 2.12 used the second one for functional models.
const CONTAINERS: [&str; 2] = ["layers", "_layer_checkpoint_dependencies"];
/// Bounds on what is visited in files without a config.
const MOST_GROUPS: usize = 10_000;
const DEEPEST: usize = 32;

/// Returns the tensors of a layer's directions.
pub(super) fn tensors(store: &Store, place: &Place, bidirectional: bool) -> Result<Vec<Tensors>, String> {
    let group = group_of(store, &place.steps)?;
    directions(store, &group, bidirectional)
        .ok_or_else(|| format!("its weights are not in the file: nothing in {group}"))
}

fn directions(store: &Store, group: &str, bidirectional: bool) -> Option<Vec<Tensors>> {
    if !bidirectional {
        return Some(vec![cell(store, group)?]);
    }
    // The wrapped layer is the forward one in some versions; in others it has no weights of its own.
    let forward = cell(store, &format!("{group}/forward_layer")).or_else(|| cell(store, &format!("{group}/layer")));
    Some(vec![forward?, cell(store, &format!("{group}/backward_layer"))?])
}

/// Returns the tensors of the layer in a group.
fn cell(store: &Store, group: &str) -> Option<Tensors> {
    [format!("{group}/cell/vars"), format!("{group}/vars")].into_iter().find_map(|variables| {
        let path = |index: usize| format!("{variables}/{index}");
        let [kernel, recurrent, bias] = [path(0), path(1), path(2)];
        let is_matrix = |path: &str| store.shape(path).is_ok_and(|shape| shape.len() == 2);
        if !is_matrix(&kernel) || !is_matrix(&recurrent) {
            return None;
        }
        let bias = store.shape(&bias).is_ok().then_some(bias);
        Some(Tensors::Fused { kernel, recurrent, bias })
    })
}

fn group_of(store: &Store, steps: &[Step]) -> Result<String, String> {
    let mut group = String::new();
    for step in steps {
        let child = match step {
            Step::Held(attribute) => joined(&group, attribute),
            Step::Member { class, index } => member(store, &group, class, *index)
                .ok_or_else(|| format!("its weights are not in the file: no {class} number {index} in {group:?}"))?,
        };
        group = child;
    }
    Ok(group)
}

fn member(store: &Store, group: &str, class: &str, index: usize) -> Option<String> {
    let [layers, dependencies] = CONTAINERS.map(|container| joined(group, container));
    let exact = joined(&layers, &if index == 0 { class.to_owned() } else { format!("{class}_{index}") });
    if store.has_group(&exact) {
        return Some(exact);
    }
    // There, the counters leave numbers out, so that only the order counts.
    let mut numbered: Vec<(u64, String)> = store
        .groups(&dependencies)
        .into_iter()
        .filter_map(|name| Some((number_after(class, &name)?, joined(&dependencies, &name))))
        .collect();
    numbered.sort();
    numbered.into_iter().nth(index).map(|(_, path)| path)
}

/// Returns 0 for `class`, 3 for `class_3`.
fn number_after(class: &str, name: &str) -> Option<u64> {
    match name.strip_prefix(class)? {
        "" => Some(0),
        rest => rest.strip_prefix('_')?.parse().ok(),
    }
}

fn joined(group: &str, name: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{group}/{name}") }
}

/// A recurrent layer of a file without a config.
pub(super) struct Bare {
    /// The groups' names from the model's own layer down to this one.
    pub(super) names: Vec<String>,
    /// The layer's name in the model, which files of recent versions have.
    pub(super) name: Option<String>,
    /// The class as its group writes it, without the counter.
    pub(super) class: String,
    pub(super) bidirectional: bool,
    pub(super) tensors: Vec<Tensors>,
}

/// Returns all recurrent layers of a file, by class and then by counter.
pub(super) fn all(store: &Store) -> Vec<Bare> {
    let mut found = Vec::new();
    let mut left = MOST_GROUPS;
    visit(store, "", &mut Vec::new(), &mut left, &mut found);
    found
}

fn visit(store: &Store, group: &str, names: &mut Vec<String>, left: &mut usize, found: &mut Vec<Bare>) {
    if *left == 0 || names.len() > DEEPEST {
        return;
    }
    *left -= 1;
    let mut children = store.groups(group);
    let is_cell = |children: &[String]| children.iter().any(|name| name == "cell");
    let is_bidirectional = children.iter().any(|name| name == "backward_layer");
    let tensors =
        (is_bidirectional || is_cell(&children)).then(|| directions(store, group, is_bidirectional)).flatten();
    if let (Some(tensors), Some(last)) = (tensors, names.last()) {
        let class = match last.rsplit_once('_') {
            Some((class, number)) if number.bytes().all(|c| c.is_ascii_digit()) => class,
            _ => last,
        };
        let name = store.attributes(&format!("{group}/vars")).ok();
        let name = name.and_then(|attributes| attributes.text("name").map(str::to_owned));
        let class = class.to_owned();
        found.push(Bare { names: names.clone(), name, class, bidirectional: is_bidirectional, tensors });
        return;
    }
    children.sort_by_cached_key(|name| {
        let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let (class, number) = name.split_at(name.len() - digits);
        (class.trim_end_matches('_').to_owned(), number.parse::<u64>().unwrap_or(0))
    });
    for child in children {
        let is_container = CONTAINERS.contains(&child.as_str());
        if !is_container {
            names.push(child.clone());
        }
        visit(store, &joined(group, &child), names, left, found);
        if !is_container {
            names.pop();
        }
    }
}
