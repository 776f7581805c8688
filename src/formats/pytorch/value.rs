//! The values that a pickle describes.

use std::sync::Arc;

use crate::formats::pytorch::tensor::{Storage, Tensor};

/// A value's index in its pickle: containers hold indices, so that shared and cyclic values need no more memory
/// than they take in the file, and deeply nested ones no stack.
pub(super) type Id = usize;

/// A Python value, as far as tensors can be in it or under it.
#[derive(Debug, PartialEq)]
pub(super) enum Value {
    /// Anything that cannot hold a tensor: None, floats, bytes, long texts.
    Opaque,
    Bool(bool),
    Integer(i64),
    Text(Arc<str>),
    /// A list, a tuple or a set.
    Sequence(Vec<Id>),
    /// A dictionary of any class, in the order of insertion; a later item replaces an earlier one of the same key.
    Dict(Vec<(Id, Id)>),
    /// A class or a function, as "module.name".
    Global(Arc<str>),
    /// An object of a class, with the state that it was given.
    Object(Option<Id>),
    Storage(Box<Storage>),
    Tensor(Box<Tensor>),
    /// A tensor that cannot be read, and why.
    Rejected(Arc<str>),
}
