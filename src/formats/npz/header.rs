//! The header of an `.npy` file: a dictionary in Python's notation.

use std::io::{self, Read};

use safetensors::Dtype;

use crate::formats::reader::invalid;

/// What an array is and how it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    /// The number type, or NumPy's name of one that has no counterpart here.
    pub(super) dtype: Result<Dtype, String>,
    pub(super) big_endian: bool,
    /// True if the first dimension is the fastest.
    pub(super) fortran_order: bool,
    pub(super) shape: Vec<usize>,
    /// The length of everything before the numbers.
    pub(super) len: usize,
}

/// How every `.npy` file starts.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

impl Header {
    /// The longest dictionary that is read. NumPy itself rejects more than 10,000 bytes, except in trusted files.
    const LONGEST: u32 = 1 << 16;
    /// NumPy's own limit on the number of dimensions.
    const MOST_DIMENSIONS: usize = 64;

    /// Reads a header, up to the first number.
    pub(super) fn read(mut reader: impl Read) -> io::Result<Self> {
        let mut start = [0; 8];
        reader.read_exact(&mut start)?;
        let [magic @ .., major, _minor] = start;
        if magic != MAGIC {
            return Err(invalid("it does not start like an .npy file"));
        }
        let (len_bytes, text_len) = match major {
            1 => {
                let mut len = [0; 2];
                reader.read_exact(&mut len)?;
                (2, u32::from(u16::from_le_bytes(len)))
            }
            2 | 3 => {
                let mut len = [0; 4];
                reader.read_exact(&mut len)?;
                (4, u32::from_le_bytes(len))
            }
            _ => return Err(invalid(format!("version {major} of the .npy format is unknown"))),
        };
        if text_len > Self::LONGEST {
            return Err(invalid(format!("a header of {text_len} bytes")));
        }
        let mut text = Vec::new();
        reader.take(u64::from(text_len)).read_to_end(&mut text)?;
        if text.len() < text_len as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Self::parse(&text, start.len() + len_bytes + text.len())
    }

    fn parse(text: &[u8], len: usize) -> io::Result<Self> {
        let broken = || invalid("its header is not a dictionary of descr, fortran_order and shape");
        let mut parser = Parser { rest: text };
        let Some(Literal::Dict(items)) = parser.literal(0) else { return Err(broken()) };
        let get = |key: &str| items.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value);
        let (Some(descr), Some(Literal::Bool(fortran_order)), Some(Literal::List(sizes))) =
            (get("descr"), get("fortran_order"), get("shape"))
        else {
            return Err(broken());
        };
        let sizes = sizes.iter().map(|size| match size {
            Literal::Integer(size) => usize::try_from(*size).ok(),
            _ => None,
        });
        let shape = sizes.collect::<Option<Vec<_>>>().filter(|shape| shape.len() <= Self::MOST_DIMENSIONS);
        let (dtype, big_endian) = match descr {
            Literal::Text(descr) => (number_type(descr).ok_or_else(|| descr.clone()), descr.starts_with('>')),
            _ => (Err("a structured type".to_owned()), false),
        };
        Ok(Self { dtype, big_endian, fortran_order: *fortran_order, shape: shape.ok_or_else(broken)?, len })
    }
}

/// Returns the number type that NumPy writes as, for example, "<f4".
fn number_type(descr: &str) -> Option<Dtype> {
    // Without a mark, the order is that of the machine: little-endian on all that matter.
    Some(match descr.trim_start_matches(['<', '>', '|', '=']) {
        "f2" => Dtype::F16,
        "f4" => Dtype::F32,
        "f8" => Dtype::F64,
        "i1" => Dtype::I8,
        "i2" => Dtype::I16,
        "i4" => Dtype::I32,
        "i8" => Dtype::I64,
        "u1" => Dtype::U8,
        "u2" => Dtype::U16,
        "u4" => Dtype::U32,
        "u8" => Dtype::U64,
        "b1" | "?" => Dtype::BOOL,
        _ => return None,
    })
}

/// A value in Python's notation, as far as headers have them.
enum Literal {
    Text(String),
    Integer(u64),
    Bool(bool),
    /// A list or a tuple.
    List(Vec<Literal>),
    Dict(Vec<(String, Literal)>),
}

struct Parser<'a> {
    rest: &'a [u8],
}

impl Parser<'_> {
    /// A structured type nests a few lists and tuples.
    const DEEPEST: usize = 16;

    /// Skips white space and returns the next byte without taking it.
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.first().copied()
    }

    fn skip(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    /// Takes the next byte if it is `byte`.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.skip();
        }
        found
    }

    fn literal(&mut self, depth: usize) -> Option<Literal> {
        if depth > Self::DEEPEST {
            return None;
        }
        match self.peek()? {
            b'{' => {
                self.skip();
                let mut items = Vec::new();
                while !self.take(b'}') {
                    let key = self.text()?;
                    let value = self.take(b':').then(|| self.literal(depth + 1))??;
                    items.push((key, value));
                    if !self.take(b',') && self.peek() != Some(b'}') {
                        return None;
                    }
                }
                Some(Literal::Dict(items))
            }
            open @ (b'(' | b'[') => {
                self.skip();
                let close = if open == b'(' { b')' } else { b']' };
                let mut items = Vec::new();
                while !self.take(close) {
                    items.push(self.literal(depth + 1)?);
                    if !self.take(b',') && self.peek() != Some(close) {
                        return None;
                    }
                }
                Some(Literal::List(items))
            }
            b'0'..=b'9' => {
                let end = self.rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.rest.len());
                let (digits, rest) = self.rest.split_at_checked(end)?;
                self.rest = rest;
                // Python 2 wrote "3L".
                self.take(b'L');
                Some(Literal::Integer(std::str::from_utf8(digits).ok()?.parse().ok()?))
            }
            b'T' => self.word(b"True").then_some(Literal::Bool(true)),
            b'F' => self.word(b"False").then_some(Literal::Bool(false)),
            _ => self.text().map(Literal::Text),
        }
    }

    fn word(&mut self, word: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(word);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Takes a quoted text. Escapes, which only names of structured fields have, are kept as they are written.
    fn text(&mut self) -> Option<String> {
        let quote = self.peek().filter(|byte| matches!(byte, b'\'' | b'"'))?;
        self.skip();
        let mut escaped = false;
        let end = self.rest.iter().position(|&byte| {
            let ends = byte == quote && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        let (text, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        self.skip();
        Some(String::from_utf8_lossy(text).into_owned())
    }
}
