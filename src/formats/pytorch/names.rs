//! The names of the tensors in a pickle: the keys and indices that lead to them, joined by dots.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

use crate::formats::pytorch::pickle::Pickle;
use crate::formats::pytorch::tensor::Tensor;
use crate::formats::pytorch::value::{Id, Value};
use crate::formats::reader::invalid;

/// The name of a tensor that is the whole of its file.
pub(crate) const UNNAMED: &str = "tensor";

/// A tensor, or why it cannot be read.
pub(super) type Found = Result<Tensor, String>;

/// What a pickle holds, by name.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) tensors: BTreeMap<String, Found>,
    /// What modules of recurrent layers and cells record of their constructors' arguments, as text: `batch_first` and
    /// `nonlinearity` under the module's name.
    pub(super) arguments: BTreeMap<String, String>,
}

/// Returns the tensors of a pickle by their names.
///
/// `total` is the length of the file, with which the names may grow.
pub(super) fn named(pickle: &Pickle, total: u64) -> io::Result<Named> {
    let mut walk = Walk {
        pickle,
        found: BTreeMap::new(),
        arguments: BTreeMap::new(),
        name: String::new(),
        path: Vec::new(),
        visits: pickle.len().saturating_mul(2).saturating_add(Walk::VISITS),
        text: total.saturating_add(Walk::TEXT),
    };
    walk.value(pickle.root)?;
    let tensors = walk.found.into_iter().map(|(name, (_, found))| (name, found)).collect();
    Ok(Named { tensors, arguments: walk.arguments })
}

struct Walk<'a> {
    pickle: &'a Pickle,
    found: BTreeMap<String, (Id, Found)>,
    arguments: BTreeMap<String, String>,
    /// The name of the current value.
    name: String,
    /// The values around the current one.
    path: Vec<Id>,
    /// How many more values may be visited. A value is visited once for every way to it, of which a small file can
    /// have very many.
    visits: usize,
    /// How many more bytes the names may have, for the same reason.
    text: u64,
}

impl<'a> Walk<'a> {
    const VISITS: usize = 1 << 16;
    const TEXT: u64 = 1 << 22;
    /// What a name counts beyond its own bytes, for all that is kept under it.
    const EACH: u64 = 64;
    /// Deeper than modules are nested, and not too deep for recursion.
    const DEEPEST: usize = 128;

    fn value(&mut self, id: Id) -> io::Result<()> {
        self.visits =
            self.visits.checked_sub(1).ok_or_else(|| invalid("its pickle refers too often to the same values"))?;
        let pickle = self.pickle;
        match pickle.get(id) {
            Value::Tensor(tensor) => return self.emit(id, Ok((**tensor).clone())),
            Value::Rejected(why) => return self.emit(id, Err(why.to_string())),
            Value::Sequence(_) | Value::Dict(_) | Value::Object(Some(_)) => {}
            _ => return Ok(()),
        }
        // What contains itself has no names on the second way round.
        if self.path.contains(&id) {
            return Ok(());
        }
        if self.path.len() >= Self::DEEPEST {
            return Err(invalid(format!("its pickle nests values more than {} deep", Self::DEEPEST)));
        }
        self.path.push(id);
        match pickle.get(id) {
            Value::Sequence(items) => {
                for (index, &item) in items.iter().enumerate() {
                    self.under(&index.to_string(), item)?;
                }
            }
            Value::Dict(items) => self.items(items, None)?,
            Value::Object(Some(state)) => self.module(*state)?,
            _ => {}
        }
        self.path.pop();
        Ok(())
    }

    /// Visits a value under a key of the current one.
    fn under(&mut self, key: &str, id: Id) -> io::Result<()> {
        let len = self.name.len();
        if len > 0 {
            self.name.push('.');
        }
        self.name.push_str(key);
        self.value(id)?;
        self.name.truncate(len);
        Ok(())
    }

    /// Visits the values of a dictionary, except under the keys in `left_out`.
    fn items(&mut self, items: &'a [(Id, Id)], left_out: Option<&HashSet<&str>>) -> io::Result<()> {
        let pickle = self.pickle;
        // For Python, 1 and "1" are two keys; of the same key, the last value counts.
        let mut last = HashMap::new();
        let named = items.iter().filter_map(|&(key, value)| Some((Key::of(pickle.get(key))?, value)));
        let named: Vec<_> = named.collect();
        last.extend(named.iter().copied());
        self.visits = self.visits.saturating_sub(items.len());
        for (key, value) in named {
            if last.get(&key) != Some(&value)
                || left_out.is_some_and(|names| matches!(key, Key::Text(key) if names.contains(key)))
            {
                continue;
            }
            match key {
                Key::Text(text) => self.under(text, value)?,
                Key::Integer(number) => self.under(&number.to_string(), value)?,
            }
        }
        Ok(())
    }

    /// Visits the tensors of a module, which are those of its state_dict(): its parameters, its buffers except those
    /// that are not persistent, and those of its modules. Objects of other classes are passed over.
    fn module(&mut self, state: Id) -> io::Result<()> {
        let pickle = self.pickle;
        let Value::Dict(state) = pickle.get(state) else { return Ok(()) };
        let attribute = |name: &str| {
            let found =
                state.iter().rev().find(|(key, _)| matches!(pickle.get(*key), Value::Text(key) if **key == *name));
            found.map(|&(_, value)| pickle.get(value))
        };
        let (Some(Value::Dict(parameters)), Some(Value::Dict(modules))) =
            (attribute("_parameters"), attribute("_modules"))
        else {
            return Ok(());
        };
        let nonlinearity = match (attribute("mode"), attribute("nonlinearity")) {
            (Some(Value::Text(mode)), _) => mode.strip_prefix("RNN_").map(str::to_lowercase),
            (_, Some(Value::Text(nonlinearity))) => Some(nonlinearity.to_string()),
            _ => None,
        };
        let batch_first = match (attribute("mode"), attribute("batch_first")) {
            (Some(Value::Text(_)), Some(Value::Bool(batch_first))) => Some(batch_first.to_string()),
            _ => None,
        };
        for (argument, text) in [("nonlinearity", nonlinearity), ("batch_first", batch_first)] {
            if let Some(text) = text {
                let prefix = if self.name.is_empty() { String::new() } else { format!("{}.", self.name) };
                self.arguments.insert(format!("{prefix}{argument}"), text);
            }
        }
        self.items(parameters, None)?;
        if let Some(Value::Dict(buffers)) = attribute("_buffers") {
            let names = match attribute("_non_persistent_buffers_set") {
                Some(Value::Sequence(names)) => names.as_slice(),
                _ => &[],
            };
            let names = names.iter().filter_map(|&name| match pickle.get(name) {
                Value::Text(name) => Some(&**name),
                _ => None,
            });
            self.items(buffers, Some(&names.collect()))?;
        }
        self.items(modules, None)
    }

    /// Records a tensor under the current name.
    fn emit(&mut self, id: Id, found: Found) -> io::Result<()> {
        let name = if self.name.is_empty() { UNNAMED } else { &self.name };
        let left = self.text.checked_sub(name.len() as u64 + Self::EACH);
        self.text = left.ok_or_else(|| invalid("the names of its tensors are too long or too many"))?;
        if let Some((other, first)) = self.found.get_mut(name) {
            if *other != id {
                // Neither is taken for the other.
                *first = Err("two tensors have this name".to_owned());
            }
            return Ok(());
        }
        self.found.insert(name.to_owned(), (id, found));
        Ok(())
    }
}

/// A key of a dictionary that can be part of a name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key<'a> {
    Text(&'a str),
    Integer(i64),
}

impl<'a> Key<'a> {
    fn of(value: &'a Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(Self::Text(text)),
            Value::Integer(number) => Some(Self::Integer(*number)),
            _ => None,
        }
    }
}
