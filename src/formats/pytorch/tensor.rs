//! Storages and the tensors that are views of them, as a pickle describes them.

use std::io;
use std::sync::Arc;

use safetensors::Dtype;

use crate::formats::reader::invalid;
use crate::formats::strided;
use crate::memory::element_count;

/// Numbers outside of the pickle, under a key.
#[derive(Debug, PartialEq)]
pub(super) struct Storage {
    pub(super) key: Arc<str>,
    pub(super) kind: NumberType,
    /// The number of elements of `kind`.
    pub(super) len: usize,
    /// Where the storage starts in the stored one, in elements: old files share storages in this way.
    pub(super) view: usize,
}

/// The type of the numbers of a storage.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NumberType {
    Known(Dtype),
    /// Bytes; each tensor says what they are.
    Bytes,
    /// PyTorch's name of a type that has no counterpart here.
    Unknown(String),
}

impl NumberType {
    /// Returns the type of a storage class, such as "torch.FloatStorage" or "torch.cuda.HalfStorage".
    pub(super) fn of_storage(class: &str) -> Self {
        let class = class.rsplit('.').next().unwrap_or(class);
        Self::Known(match class {
            "DoubleStorage" => Dtype::F64,
            "FloatStorage" => Dtype::F32,
            "HalfStorage" => Dtype::F16,
            "BFloat16Storage" => Dtype::BF16,
            "LongStorage" => Dtype::I64,
            "IntStorage" => Dtype::I32,
            "ShortStorage" => Dtype::I16,
            "CharStorage" => Dtype::I8,
            "ByteStorage" => Dtype::U8,
            "BoolStorage" => Dtype::BOOL,
            "UntypedStorage" => return Self::Bytes,
            _ => return Self::unknown(class.strip_suffix("Storage").unwrap_or(class)),
        })
    }

    /// Returns the type of a name such as "torch.uint16". Types that have storages of their own are not written so.
    pub(super) fn of_name(name: &str) -> Self {
        Self::Known(match name {
            "torch.uint16" => Dtype::U16,
            "torch.uint32" => Dtype::U32,
            "torch.uint64" => Dtype::U64,
            "torch.float64" => Dtype::F64,
            "torch.float32" => Dtype::F32,
            "torch.float16" => Dtype::F16,
            "torch.bfloat16" => Dtype::BF16,
            "torch.int64" => Dtype::I64,
            "torch.int32" => Dtype::I32,
            "torch.int16" => Dtype::I16,
            "torch.int8" => Dtype::I8,
            "torch.uint8" => Dtype::U8,
            "torch.bool" => Dtype::BOOL,
            _ => return Self::unknown(name.strip_prefix("torch.").unwrap_or(name)),
        })
    }

    fn unknown(name: &str) -> Self {
        /// No type of PyTorch has a longer name.
        const LONGEST: usize = 40;
        Self::Unknown(name.chars().take(LONGEST).collect())
    }

    /// Returns the bytes of an element of the storage, if they are known.
    pub(super) fn item(&self) -> Option<usize> {
        match self {
            Self::Known(dtype) => Some(dtype.bitsize() / 8),
            Self::Bytes => Some(1),
            // Legacy files have storages one after the other: those of types that are not read are passed over.
            Self::Unknown(name) => match name.as_str() {
                "ComplexDouble" => Some(16),
                "ComplexFloat" => Some(8),
                "QInt32" => Some(4),
                "QInt8" | "QUInt8" | "QUInt4x2" | "QUInt2x4" => Some(1),
                _ => None,
            },
        }
    }
}

/// A view of a storage.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    pub(super) storage: Arc<str>,
    pub(super) dtype: Dtype,
    /// The position of the first element, in bytes.
    pub(super) start: usize,
    /// The bytes from the first element to the last, both included.
    pub(super) span: usize,
    pub(super) shape: Vec<usize>,
    /// In elements, as many as the shape has dimensions.
    pub(super) strides: Vec<usize>,
}

impl Tensor {
    /// The most dimensions of a tensor; PyTorch allows more, but its layers have no use for them.
    pub(super) const MOST_DIMENSIONS: usize = 16;

    /// Returns a view that lies within its storage, or why it cannot be read although it is valid.
    pub(super) fn new(
        storage: &Storage,
        kind: &NumberType,
        offset: usize,
        shape: Vec<usize>,
        strides: Vec<usize>,
    ) -> io::Result<Result<Self, String>> {
        let dtype = match kind {
            NumberType::Known(dtype) => *dtype,
            NumberType::Bytes => return Err(invalid("a tensor without a number type")),
            NumberType::Unknown(name) => return Ok(Err(format!("its numbers are of the type {name}"))),
        };
        let item = dtype.bitsize() / 8;
        if shape.len() != strides.len() || element_count::<u64>("", &shape).is_err() {
            return Err(invalid(format!("a tensor of shape {shape:?} and strides {strides:?}")));
        }
        let bytes = |elements: usize| elements.checked_mul(item);
        let view = storage.view.checked_mul(storage.kind.item().unwrap_or(item));
        let len = storage.len.checked_mul(storage.kind.item().unwrap_or(item));
        let offset = bytes(offset);
        let span = strided::span(&shape, &strides).and_then(bytes);
        let (Some(view), Some(len), Some(offset), Some(span)) = (view, len, offset, span) else {
            return Err(invalid(format!("a tensor of shape {shape:?} and strides {strides:?} overflows")));
        };
        // A view of a part says how long the whole is, not the part.
        let start = offset.checked_add(view);
        let Some(start) = start.filter(|start| span == 0 || start.checked_add(span).is_some_and(|end| end <= len))
        else {
            return Err(invalid(format!("a tensor of shape {shape:?} reaches beyond its storage of {len} bytes")));
        };
        Ok(Ok(Self { storage: storage.key.clone(), dtype, start, span, shape, strides }))
    }
}
