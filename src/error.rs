//! The error type of the crate: what was expected, what was given, and where.

use std::collections::BTreeSet;
use std::path::PathBuf;

/// The result of this crate's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// All errors of this crate, detected before any GPU work wherever that is possible.
///
/// A message first says where the error is, then what was expected, then what was given. Underlying errors of the
/// operating system or the safetensors parser are not part of the message: they are the
/// [`source`](std::error::Error::source), as usual, and are printed by anything that prints the chain (such as
/// `{error:#}` of anyhow).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument is outside its range, which is PyTorch's for the argument of the same name if PyTorch has one.
    #[error("{argument}: expected {expected}, got {got}")]
    Config {
        /// The argument, by PyTorch's name.
        argument: &'static str,
        /// Its range.
        expected: &'static str,
        /// The given value.
        got: String,
    },

    /// An array has the wrong shape.
    #[error("{what}: expected shape {expected}, got {got:?}")]
    Shape {
        /// The array.
        what: String,
        /// The expected shape, with the meaning of dimensions that may vary.
        expected: String,
        /// The given shape.
        got: Vec<usize>,
    },

    /// Data and shape of an array disagree.
    #[error("{what}: shape {shape:?} holds {expected} elements, got {got}")]
    Length {
        /// The array.
        what: String,
        /// The stated shape.
        shape: Vec<usize>,
        /// The number of elements of that shape.
        expected: usize,
        /// The number of elements given.
        got: usize,
    },

    /// A size is beyond what this machine can address, or memory could not be allocated.
    #[error("{what}: {shape:?} elements of {bytes_each} bytes do not fit in memory")]
    TooLarge {
        /// The array or list of that size.
        what: String,
        /// The shape.
        shape: Vec<usize>,
        /// The size of an element in bytes.
        bytes_each: usize,
    },

    /// A file could not be read or written.
    #[error("{}: the file could not be {action}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// "read" or "written".
        action: &'static str,
        /// The operating system's reason.
        source: std::io::Error,
    },

    /// A file or byte string is not valid safetensors.
    #[error("{origin}: not a valid safetensors file{}", advice_words(advice, "; ", ""))]
    SafeTensors {
        /// The file, or "bytes".
        origin: String,
        /// What the file is instead and how to convert it, if that can be determined.
        advice: Option<&'static str>,
        /// The parser's reason.
        source: safetensors::SafeTensorError,
    },

    /// A file or byte string does not follow its format.
    #[error("{origin}: not a usable {format} file: {why}")]
    Format {
        /// The file, or "bytes".
        origin: String,
        /// The format that it appears to have, such as "ONNX".
        format: &'static str,
        /// What is wrong with it.
        why: String,
    },

    /// A file has nothing of a name.
    #[error("no {what} {name:?}; the file has {found:?}")]
    NotFound {
        /// What was looked for, such as "layer".
        what: String,
        /// The name.
        name: String,
        /// The names that the file has.
        found: Vec<String>,
    },

    /// A file holds a different layer or cell than the configuration describes.
    #[error("{what} under prefix {prefix:?} differs from the configuration: {}", mismatch_words(mismatches))]
    ConfigMismatch {
        /// "layer" or "cell".
        what: &'static str,
        /// The requested prefix.
        prefix: String,
        /// Every argument that differs, in the order of PyTorch's signature.
        mismatches: Vec<ArgumentMismatch>,
    },

    /// No model was found under the prefix.
    #[error(
        "no recurrent {what} under prefix {prefix:?} (no tensor {missing}); {}{}",
        found_prefixes(what, found),
        other_models(what, others)
    )]
    NoModel {
        /// The kind of module: "layer" or "cell".
        what: &'static str,
        /// The requested prefix.
        prefix: String,
        /// The tensor whose absence shows that there is no model.
        missing: String,
        /// The prefixes under which there is a model.
        found: Vec<String>,
        /// Cells where a layer was requested, and the reverse: the one under `prefix`, or if there is none and `found`
        /// is empty, all of the file.
        others: Vec<OtherModel>,
    },

    /// A tensor of the model is missing.
    #[error("tensor {name} is missing: {why}")]
    MissingTensor {
        /// The tensor's full name.
        name: String,
        /// The reason that it is required.
        why: String,
    },

    /// A tensor whose name belongs to the model does not fit it.
    #[error("tensor {name} does not fit: {why}")]
    UnexpectedTensor {
        /// The tensor's full name.
        name: String,
        /// The reason that it does not fit.
        why: String,
    },

    /// A tensor has a data type that weights cannot have.
    #[error("tensor {name}: expected F32, F64, F16 or BF16, got {got}{}", advice_words(advice, " (", ")"))]
    Dtype {
        /// The tensor's full name.
        name: String,
        /// The tensor's type.
        got: String,
        /// What reads a tensor of this type, if anything does.
        advice: Option<&'static str>,
    },

    /// A weight is NaN or infinite (or became infinite on conversion).
    #[error("tensor {name}: expected finite values, got {value} at {index:?}")]
    NonFinite {
        /// The tensor's full name.
        name: String,
        /// The position of the first such value.
        index: Vec<usize>,
        /// The value.
        value: f64,
    },

    /// The crate does not support an operation (yet).
    #[error("{what} is not supported: {why}")]
    Unsupported {
        /// The operation.
        what: String,
        /// The reason, or an alternative.
        why: String,
    },

    /// No GPU adapter fits the request.
    #[error("no GPU adapter {wanted}; {}", found_adapters(found))]
    NoAdapter {
        /// The request.
        wanted: String,
        /// The available adapters.
        found: Vec<String>,
    },

    /// An adapter returned no device.
    #[error("{adapter}: the adapter returned no device: {reason}")]
    RequestDevice {
        /// The adapter.
        adapter: String,
        /// The driver's reason.
        reason: String,
    },

    /// A limit of the device is too low for this model or shape.
    #[error("{what} needs {need} of {limit}, {}", available_words(limit, available))]
    Limit {
        /// The array, kernel or other item that exceeds the limit.
        what: String,
        /// The limit, by wgpu's name.
        limit: &'static str,
        /// The amount needed.
        need: u64,
        /// The amount available.
        available: u64,
    },

    /// A caller's buffer does not fit.
    #[error("buffer {name}: expected {expected}, got {got}")]
    Buffer {
        /// The buffer's role.
        name: &'static str,
        /// The requirement.
        expected: String,
        /// The buffer's property.
        got: String,
    },

    /// The device ran out of memory.
    #[error("out of device memory while {during}: {message}")]
    OutOfMemory {
        /// The operation that failed.
        during: &'static str,
        /// The driver's message.
        message: String,
    },

    /// The device is gone: it was destroyed, unplugged or reset. Results of the call are lost.
    #[error("the device was lost while {during}: {reason}")]
    DeviceLost {
        /// The operation that failed.
        during: &'static str,
        /// The driver's message.
        reason: String,
    },

    /// wgpu rejected a call: a defect of this crate or of the driver, or a buffer of another device.
    #[error("wgpu rejected a call while {during}: {message}")]
    Gpu {
        /// The operation that failed.
        during: &'static str,
        /// wgpu's message.
        message: String,
    },
}

/// An argument of a configuration that a file contradicts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArgumentMismatch {
    /// The argument, by PyTorch's name.
    pub argument: &'static str,
    /// Its value in the configuration.
    pub expected: String,
    /// Its value in the file.
    pub got: String,
}

/// A cell in a file where a layer was requested, or the reverse.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtherModel {
    /// The prefix of its tensors.
    pub prefix: String,
    /// The type that reads it, such as `LstmCell`, if the shapes of its weights tell.
    pub reader: Option<String>,
}

fn mismatch_words(mismatches: &[ArgumentMismatch]) -> String {
    let word = |m: &ArgumentMismatch| format!("{}: expected {}, got {}", m.argument, m.expected, m.got);
    mismatches.iter().map(word).collect::<Vec<_>>().join("; ")
}

/// wgpu's limits are properties of the device; any other limit was set by the user.
fn available_words(limit: &str, available: &u64) -> String {
    let whose = if limit.starts_with("max_") { "the device has" } else { "which are" };
    format!("{whose} {available}")
}

fn advice_words(advice: &Option<&str>, before: &str, after: &str) -> String {
    advice.map_or_else(String::new, |advice| format!("{before}{advice}{after}"))
}

fn found_prefixes(what: &str, found: &[String]) -> String {
    if found.is_empty() {
        return format!("the file has no tensor named like a recurrent {what}'s");
    }
    format!("the file has recurrent {what}s under {found:?}")
}

fn other_models(what: &str, others: &[OtherModel]) -> String {
    if others.is_empty() {
        return String::new();
    }
    let other = if what == "layer" { "cells" } else { "layers" };
    let prefixes: Vec<&str> = others.iter().map(|other| &*other.prefix).collect();
    let readers: BTreeSet<&str> = others.iter().filter_map(|other| other.reader.as_deref()).collect();
    let load = if readers.is_empty() { "" } else { ": load " };
    format!("; it has {other} under {prefixes:?}{load}{}", Vec::from_iter(readers).join(" or "))
}

fn found_adapters(found: &[String]) -> String {
    if found.is_empty() {
        return "none was found; is a GPU driver installed?".to_owned();
    }
    format!("found: {}", found.join(", "))
}
