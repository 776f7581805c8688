//! The wire format of Protocol Buffers: fields of messages, read where they lie in a file.
//!
//! Nothing is read ahead: a field with a length is only a span of the file until somebody asks for its bytes, so that a
//! model's weights stay on disk while its graph is read. Every span lies within that of its message and thereby within
//! the file, which bounds what can be allocated.

use std::io::{BufRead, BufReader, Read};
use std::ops::Range;

use crate::error::{Error, Result};
use crate::formats::reader::Reader;
use crate::memory::zeroed;

/// Fields that were not read yet: a part of the file.
pub(super) type Span = Range<u64>;

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    /// Bytes, a string, packed numbers or a message.
    Span(Span),
}

/// A file, with the position that was read last.
pub(super) struct Wire<'a> {
    inner: BufReader<Reader>,
    position: u64,
    origin: &'a str,
}

impl<'a> Wire<'a> {
    /// Returns the name of the file for errors.
    pub(super) fn origin(&self) -> &str {
        self.origin
    }

    /// Creates a reader of bytes that are at their start. Errors name the `origin`.
    pub(super) fn new(reader: Reader, origin: &'a str) -> Self {
        Self { inner: BufReader::new(reader), position: 0, origin }
    }

    /// Returns the error of a file that breaks the format.
    pub(super) fn broken(&self, why: impl Into<String>) -> Error {
        broken(self.origin, why)
    }

    /// Reads the next field of a message and removes it from the message's span.
    pub(super) fn field(&mut self, message: &mut Span) -> Result<Option<(u64, Value)>> {
        if message.start >= message.end {
            return Ok(None);
        }
        self.seek(message.start)?;
        let key = self.varint(message.end)?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint(message.end)?),
            1 => Value::Fixed64(self.fixed(message.end)?),
            2 => {
                let length = self.varint(message.end)?;
                let end = self.position.checked_add(length).filter(|&end| end <= message.end);
                let end = end.ok_or_else(|| self.broken("a field is longer than the message that contains it"))?;
                Value::Span(self.position..end)
            }
            5 => Value::Fixed32(self.fixed(message.end)?),
            other => return Err(self.broken(format!("a field has the unknown wire type {other}"))),
        };
        message.start = match &value {
            Value::Span(span) => span.end,
            _ => self.position,
        };
        Ok(Some((key >> 3, value)))
    }

    /// Reads the next number of packed ones and removes it from the span.
    pub(super) fn packed_varint(&mut self, span: &mut Span) -> Result<Option<u64>> {
        if span.start >= span.end {
            return Ok(None);
        }
        self.seek(span.start)?;
        let value = self.varint(span.end)?;
        span.start = self.position;
        Ok(Some(value))
    }

    /// Reads all bytes of a span.
    pub(super) fn bytes(&mut self, what: &str, span: &Span) -> Result<Vec<u8>> {
        let length = usize::try_from(span.end.saturating_sub(span.start));
        let mut bytes = zeroed(what, &[length.unwrap_or(usize::MAX)])?;
        self.seek(span.start)?;
        self.exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads a string.
    pub(super) fn string(&mut self, span: &Span) -> Result<String> {
        String::from_utf8(self.bytes("a name", span)?).map_err(|_| self.broken("a name is not UTF-8"))
    }

    fn seek(&mut self, position: u64) -> Result<()> {
        // Spans lie within the file, whose size is an i64 on every system.
        let distance = (position as i64).wrapping_sub(self.position as i64);
        if distance != 0 {
            self.inner.seek_relative(distance).map_err(|error| self.broken(error.to_string()))?;
            self.position = position;
        }
        Ok(())
    }

    fn exact(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.inner.read_exact(bytes).map_err(|error| self.broken(error.to_string()))?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn fixed<const N: usize>(&mut self, end: u64) -> Result<[u8; N]> {
        if end.saturating_sub(self.position) < N as u64 {
            return Err(self.broken("a number ends after the message that contains it"));
        }
        let mut bytes = [0; N];
        self.exact(&mut bytes)?;
        Ok(bytes)
    }

    fn varint(&mut self, end: u64) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            if self.position >= end {
                return Err(self.broken("a number ends after the message that contains it"));
            }
            let byte = match self.inner.fill_buf() {
                Ok(buffer) => buffer.first().copied().ok_or_else(|| self.broken("the file is shorter than it was")),
                Err(error) => Err(self.broken(error.to_string())),
            }?;
            self.inner.consume(1);
            self.position += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.broken("a number has more than 64 bits"))
    }
}

/// Returns the error of a file that breaks the format.
pub(super) fn broken(origin: &str, why: impl Into<String>) -> Error {
    Error::Format { origin: origin.to_owned(), format: "ONNX", why: why.into() }
}
