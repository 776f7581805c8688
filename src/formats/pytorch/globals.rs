//! What the classes and functions of a pickle stand for. None is run: those that PyTorch uses for tensors and
//! dictionaries are known by name, and the others make opaque objects.

use std::io::{self, Read};

use crate::formats::pytorch::pickle::Machine;
use crate::formats::pytorch::tensor::{NumberType, Storage, Tensor};
use crate::formats::pytorch::value::{Id, Value};
use crate::formats::reader::invalid;

/// Returns an object of a class as it is before it gets its content.
pub(super) fn new(class: &Value) -> Value {
    match class {
        Value::Global(name) if is_dictionary(name) => Value::Dict(Vec::new()),
        Value::Global(name) if **name == *"torch.ScriptObject" => Value::Rejected(
            "it is no tensor but an object of TorchScript, such as the weights of a quantised layer".into(),
        ),
        _ => Value::Object(None),
    }
}

fn is_dictionary(name: &str) -> bool {
    matches!(name, "collections.OrderedDict" | "collections.defaultdict" | "builtins.dict" | "__builtin__.dict")
}

impl<R: Read> Machine<R> {
    /// Returns what a call of a function yields.
    pub(super) fn call(&mut self, mut function: Id, mut arguments: Id) -> io::Result<Id> {
        /// Calls within calls, as a tensor of a class of its own has one.
        const DEEPEST: usize = 4;
        for _ in 0..DEEPEST {
            let (Value::Global(name), Value::Sequence(items)) = (self.get(function), self.get(arguments)) else {
                break;
            };
            let (name, first, third) = (name.clone(), items.first().copied(), items.get(2).copied());
            let result = match &*name {
                "torch._utils._rebuild_tensor"
                | "torch._utils._rebuild_tensor_v2"
                | "torch._utils._rebuild_tensor_v3" => self.tensor(items, name.ends_with("_v3"))?,
                "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
                    return first.ok_or_else(|| invalid("a parameter without a tensor"));
                }
                "torch._tensor._rebuild_from_type" | "torch._tensor._rebuild_from_type_v2" => match (first, third) {
                    (Some(inner), Some(inner_arguments)) => {
                        (function, arguments) = (inner, inner_arguments);
                        continue;
                    }
                    _ => return Err(invalid("a tensor of a class without arguments")),
                },
                "builtins.set"
                | "builtins.frozenset"
                | "builtins.list"
                | "builtins.tuple"
                | "__builtin__.set"
                | "__builtin__.frozenset"
                | "__builtin__.list"
                | "__builtin__.tuple"
                | "collections.deque" => {
                    // The argument is taken for its copy: nothing that is done to either matters here.
                    return first.map_or_else(|| self.add(Value::Sequence(Vec::new())), Ok);
                }
                // Before protocol 2, objects are made of a class, a class of Python's and a value of the latter.
                "copy_reg._reconstructor" | "copyreg._reconstructor" => match third {
                    Some(content) if !matches!(self.get(content), Value::Opaque) => return Ok(content),
                    _ => Value::Object(None),
                },
                "torch._utils._rebuild_qtensor" => Value::Rejected("it is quantised".into()),
                "torch._utils._rebuild_nested_tensor" => Value::Rejected("it is a nested tensor".into()),
                "torch._utils._rebuild_meta_tensor_no_storage" => {
                    Value::Rejected("it was on the device \"meta\", and has no numbers".into())
                }
                "torch._utils._rebuild_device_tensor_from_numpy"
                | "torch._utils._rebuild_device_tensor_from_cpu_tensor"
                | "torch._utils._rebuild_wrapper_subclass" => {
                    Value::Rejected("it is a tensor of a device or class of its own; save tensor.cpu() instead".into())
                }
                name if name.starts_with("torch._utils._rebuild_sparse") => Value::Rejected("it is sparse".into()),
                "numpy.core.multiarray._reconstruct" | "numpy._core.multiarray._reconstruct" => {
                    Value::Rejected("it is a NumPy array; save torch.from_numpy(array) instead".into())
                }
                name if is_dictionary(name) => Value::Dict(self.dictionary(first)?),
                _ => Value::Object(None),
            };
            return self.add(result);
        }
        self.add(Value::Object(None))
    }

    /// Returns the items of a dictionary that is created from a list of pairs, as Python 2 does.
    fn dictionary(&mut self, pairs: Option<Id>) -> io::Result<Vec<(Id, Id)>> {
        let Some(Value::Sequence(pairs)) = pairs.map(|pairs| self.get(pairs)) else { return Ok(Vec::new()) };
        let paired = self.paired.saturating_add(pairs.len());
        // Every list is used once, unless memory is to be filled.
        if paired > self.len() {
            return Err(invalid("a pickle makes many dictionaries of the same list"));
        }
        let pairs = pairs.iter().filter_map(|&pair| match self.get(pair) {
            Value::Sequence(pair) => <[Id; 2]>::try_from(pair.as_slice()).ok().map(|[key, value]| (key, value)),
            _ => None,
        });
        let pairs = pairs.collect();
        self.paired = paired;
        Ok(pairs)
    }

    /// Returns the object that is stored outside of the pickle under a persistent id.
    pub(super) fn persistent(&mut self, id: Id) -> io::Result<Id> {
        let Value::Sequence(items) = self.get(id) else { return Err(invalid("a persistent id that is no tuple")) };
        let is =
            |name: &str| items.first().is_some_and(|&id| matches!(self.get(id), Value::Text(text) if **text == *name));
        if is("module") {
            // The class of a module, with its source text.
            return items.get(1).copied().ok_or_else(|| invalid("a persistent id without a class"));
        }
        if !is("storage") {
            return Err(invalid("a persistent id that is no storage"));
        }
        let broken = || invalid("a storage that is not described by type, key, place and length");
        let (Some(&class), Some(&key), Some(&len)) = (items.get(1), items.get(2), items.get(4)) else {
            return Err(broken());
        };
        let key = match self.get(key) {
            Value::Text(key) => key.clone(),
            Value::Integer(key) => key.to_string().into(),
            _ => return Err(broken()),
        };
        let Value::Global(class) = self.get(class) else { return Err(broken()) };
        let kind = NumberType::of_storage(class);
        let view = match items.get(5).map(|&view| self.get(view)) {
            Some(Value::Sequence(view)) => match view.get(1) {
                Some(&offset) => self.size(offset)?,
                None => return Err(broken()),
            },
            _ => 0,
        };
        let len = self.size(len)?;
        self.add(Value::Storage(Box::new(Storage { key, kind, len, view })))
    }

    /// Returns the tensor that PyTorch's function makes of a storage and a view of it.
    fn tensor(&self, arguments: &[Id], is_third_version: bool) -> io::Result<Value> {
        let [storage, offset, shape, strides, rest @ ..] = arguments else {
            return Err(invalid("a tensor that is not described by storage, offset, shape and strides"));
        };
        let Value::Storage(storage) = self.get(*storage) else {
            return Err(invalid("a tensor without a storage"));
        };
        let kind = match rest.get(2).map(|&kind| self.get(kind)) {
            Some(Value::Global(name)) if is_third_version => NumberType::of_name(name),
            _ => storage.kind.clone(),
        };
        let (shape, strides) = (self.sizes(*shape)?, self.sizes(*strides)?);
        // After requires_grad and the hooks: views that are read with another sign.
        if let Some(Value::Dict(views)) = rest.get(if is_third_version { 3 } else { 2 }).map(|&views| self.get(views)) {
            let is_negative = |&(key, value): &(Id, Id)| {
                matches!(self.get(key), Value::Text(key) if **key == *"neg") && *self.get(value) == Value::Bool(true)
            };
            if views.iter().any(is_negative) {
                return Ok(Value::Rejected("it is a negative view; save tensor.resolve_neg() instead".into()));
            }
        }
        let tensor = Tensor::new(storage, &kind, self.size(*offset)?, shape, strides)?;
        Ok(tensor.map_or_else(|why| Value::Rejected(why.into()), |tensor| Value::Tensor(Box::new(tensor))))
    }

    fn size(&self, id: Id) -> io::Result<usize> {
        let size = match self.get(id) {
            Value::Integer(size) => usize::try_from(*size).ok(),
            _ => None,
        };
        size.ok_or_else(|| invalid("a size that is no number, negative or too large"))
    }

    fn sizes(&self, id: Id) -> io::Result<Vec<usize>> {
        match self.get(id) {
            Value::Sequence(sizes) if sizes.len() <= Tensor::MOST_DIMENSIONS => {
                sizes.iter().map(|&size| self.size(size)).collect()
            }
            Value::Sequence(_) => Err(invalid(format!("a tensor of more than {} dimensions", Tensor::MOST_DIMENSIONS))),
            _ => Err(invalid("a shape that is no tuple")),
        }
    }
}
