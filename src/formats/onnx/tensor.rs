//! Tensors of an ONNX file: raw data, typed fields and external data.

use half::{bf16, f16};
use safetensors::Dtype;

use crate::error::{Error, Result};
use crate::formats::array::Array;
use crate::memory::{element_count, reserved};

use super::store::{External, Store};
use super::wire::{Span, Value, Wire, broken};

/// A tensor that was not read: what it is, and where.
#[derive(Clone, Debug)]
pub(super) struct TensorRef {
    pub(super) name: String,
    pub(super) dtype: ElementType,
    pub(super) shape: Vec<usize>,
    /// The message, which the numbers are part of if `external` is absent.
    pub(super) message: Span,
    external: Option<External>,
}

/// `TensorProto.DataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ElementType(pub(super) u64);

impl ElementType {
    /// Returns the number type, if there is one like it.
    pub(super) fn dtype(self) -> Option<Dtype> {
        Some(match self.0 {
            1 => Dtype::F32,
            2 => Dtype::U8,
            3 => Dtype::I8,
            4 => Dtype::U16,
            5 => Dtype::I16,
            6 => Dtype::I32,
            7 => Dtype::I64,
            9 => Dtype::BOOL,
            10 => Dtype::F16,
            11 => Dtype::F64,
            12 => Dtype::U32,
            13 => Dtype::U64,
            16 => Dtype::BF16,
            _ => return None,
        })
    }

    /// Returns the number type, or an error that names the tensor.
    pub(super) fn required(self, name: &str) -> Result<Dtype> {
        self.dtype().ok_or_else(|| Error::Unsupported {
            what: format!("tensor {name:?}"),
            why: format!("its numbers are of ONNX's data type {}", self.0),
        })
    }
}

/// Returns the bytes of a number.
pub(super) fn size_of(dtype: Dtype) -> usize {
    dtype.bitsize() / 8
}

impl TensorRef {
    /// Reads everything but the numbers.
    pub(super) fn read(wire: &mut Wire<'_>, message: Span) -> Result<Self> {
        let (mut name, mut dtype, mut shape) = (String::new(), 0, Vec::new());
        let (mut is_external, mut external) = (false, External::default());
        let mut rest = message.clone();
        let mut dimension = |wire: &Wire<'_>, size: u64| {
            // No tensor of a model has more; each of them costs memory.
            let size = usize::try_from(size as i64).ok().filter(|_| shape.len() < 64);
            shape.push(size.ok_or_else(|| wire.broken("a tensor has a negative dimension, or more than 64"))?);
            Ok(())
        };
        while let Some((number, value)) = wire.field(&mut rest)? {
            match (number, value) {
                (1, Value::Varint(size)) => dimension(wire, size)?,
                (1, Value::Span(mut span)) => {
                    while let Some(size) = wire.packed_varint(&mut span)? {
                        dimension(wire, size)?;
                    }
                }
                (2, Value::Varint(value)) => dtype = value,
                (8, Value::Span(span)) => name = wire.string(&span)?,
                (13, Value::Span(span)) => external.read(wire, span)?,
                (14, Value::Varint(value)) => is_external = value == 1,
                _ => {}
            }
        }
        Ok(Self { name, dtype: ElementType(dtype), shape, message, external: is_external.then_some(external) })
    }

    /// Loads the numbers.
    pub(super) fn load(&self, store: &Store) -> Result<Array> {
        let dtype = self.dtype.required(&self.name)?;
        let count = element_count::<u64>(&self.name, &self.shape)?;
        let expected = count * size_of(dtype);
        let bytes = match &self.external {
            Some(external) => store.external(&self.name, external, expected)?,
            None => store.read(|wire, _| self.inline(wire, dtype, expected))?,
        };
        if bytes.len() != expected {
            let why = format!("tensor {:?} of shape {:?} needs {expected} bytes", self.name, self.shape);
            return Err(broken(store.origin(), format!("{why}, and has {}", bytes.len())));
        }
        Ok(Array { dtype, shape: self.shape.clone(), bytes })
    }

    /// Reads raw data, or the typed field that belongs to the number type. Stops when there are more than `expected`
    /// bytes.
    fn inline(&self, wire: &mut Wire<'_>, dtype: Dtype, expected: usize) -> Result<Vec<u8>> {
        let field = match dtype {
            Dtype::F32 => 4,
            Dtype::I64 => 7,
            Dtype::F64 => 10,
            Dtype::U32 | Dtype::U64 => 11,
            _ => 5,
        };
        // A number takes at least one byte of the message.
        let available = self.message.end.saturating_sub(self.message.start).saturating_mul(8);
        let mut typed: Vec<u8> =
            reserved(&self.name, &[expected.min(usize::try_from(available).unwrap_or(usize::MAX))])?;
        let mut message = self.message.clone();
        while let Some((number, value)) = wire.field(&mut message)? {
            match value {
                Value::Span(span) if number == 9 => return wire.bytes(&self.name, &span),
                Value::Span(span) if number == field && matches!(dtype, Dtype::F32 | Dtype::F64) => {
                    typed.extend_from_slice(&wire.bytes(&self.name, &span)?);
                }
                Value::Span(mut span) if number == field => {
                    while let Some(value) = wire.packed_varint(&mut span)? {
                        push(&mut typed, dtype, value);
                    }
                }
                Value::Varint(value) if number == field => push(&mut typed, dtype, value),
                Value::Fixed32(bytes) if number == field => typed.extend_from_slice(&bytes),
                Value::Fixed64(bytes) if number == field => typed.extend_from_slice(&bytes),
                _ => {}
            }
        }
        Ok(typed)
    }
}

/// Appends a number of a typed field, of which only the lower bytes count.
fn push(bytes: &mut Vec<u8>, dtype: Dtype, value: u64) {
    let value = value.to_le_bytes();
    bytes.extend_from_slice(value.get(..size_of(dtype)).unwrap_or(&value));
}

impl External {
    fn read(&mut self, wire: &mut Wire<'_>, mut message: Span) -> Result<()> {
        let (mut key, mut text) = (String::new(), String::new());
        while let Some((number, value)) = wire.field(&mut message)? {
            match (number, value) {
                (1, Value::Span(span)) => key = wire.string(&span)?,
                (2, Value::Span(span)) => text = wire.string(&span)?,
                _ => {}
            }
        }
        let number = || text.parse().map_err(|_| wire.broken(format!("external data has the {key} {text:?}")));
        match key.as_str() {
            "offset" => self.offset = number()?,
            "length" => self.length = Some(number()?),
            "location" => self.location = text,
            _ => {}
        }
        Ok(())
    }
}

/// Converts numbers to F32 or F64. F16 and BF16 have the same values as F32; integers are rounded.
pub(super) fn cast(array: Array, to: Dtype, name: &str) -> Result<Array> {
    if array.dtype == to {
        return Ok(array);
    }
    let count = element_count::<u64>(name, &array.shape)?;
    let mut bytes = reserved(name, &[count.saturating_mul(size_of(to))])?;
    for number in array.bytes.chunks_exact(size_of(array.dtype).max(1)) {
        match to {
            Dtype::F32 => bytes.extend_from_slice(&(to_f64(array.dtype, number) as f32).to_le_bytes()),
            Dtype::F64 => bytes.extend_from_slice(&to_f64(array.dtype, number).to_le_bytes()),
            Dtype::F16 => bytes.extend_from_slice(&f16::from_f64(to_f64(array.dtype, number)).to_le_bytes()),
            Dtype::BF16 => bytes.extend_from_slice(&bf16::from_f64(to_f64(array.dtype, number)).to_le_bytes()),
            Dtype::I64 => bytes.extend_from_slice(&to_i64(array.dtype, number).to_le_bytes()),
            Dtype::I32 => bytes.extend_from_slice(&(to_i64(array.dtype, number) as i32).to_le_bytes()),
            _ => {
                let why = "only F16, BF16, F32, F64, I32 and I64 are converted to".to_owned();
                return Err(Error::Unsupported { what: format!("{name:?}: Cast to {to}"), why });
            }
        }
    }
    Ok(Array { dtype: to, shape: array.shape, bytes })
}

/// Returns the integers of an array.
pub(super) fn integers(array: &Array) -> Vec<i64> {
    array.bytes.chunks_exact(size_of(array.dtype).max(1)).map(|number| to_i64(array.dtype, number)).collect()
}

fn to_i64(dtype: Dtype, number: &[u8]) -> i64 {
    match dtype {
        Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64 => to_f64(dtype, number) as i64,
        _ => {
            let signed = matches!(dtype, Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64);
            let negative = signed && number.last().is_some_and(|&byte| byte & 0x80 != 0);
            let mut wide = [if negative { 0xff } else { 0 }; 8];
            wide.iter_mut().zip(number).for_each(|(to, &from)| *to = from);
            i64::from_le_bytes(wide)
        }
    }
}

fn to_f64(dtype: Dtype, number: &[u8]) -> f64 {
    let two = || number.try_into().unwrap_or_default();
    match dtype {
        Dtype::F32 => f64::from(f32::from_le_bytes(number.try_into().unwrap_or_default())),
        Dtype::F64 => f64::from_le_bytes(number.try_into().unwrap_or_default()),
        Dtype::F16 => f16::from_le_bytes(two()).to_f64(),
        Dtype::BF16 => bf16::from_le_bytes(two()).to_f64(),
        Dtype::U64 => to_i64(dtype, number) as u64 as f64,
        _ => to_i64(dtype, number) as f64,
    }
}
