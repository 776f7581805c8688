//! What follows the instructions of a pickle: numbers, texts and bytes.

use std::io::{self, Read};

/// A pickle's bytes, taken one after the other.
pub(super) struct Operands<R>(pub(super) R);

/// The longest text that is kept: names of tensors are shorter.
const LONGEST_TEXT: u64 = 4096;

impl<R: Read> Operands<R> {
    /// Takes one byte.
    pub(super) fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.0.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    /// Reads an unsigned little-endian number of up to 8 bytes.
    pub(super) fn number(&mut self, bytes: usize) -> io::Result<u64> {
        let mut number = [0; 8];
        self.0.read_exact(number.get_mut(..bytes).unwrap_or_default())?;
        Ok(u64::from_le_bytes(number))
    }

    /// Skips `len` bytes.
    pub(super) fn skip(&mut self, len: u64) -> io::Result<()> {
        if io::copy(&mut self.0.by_ref().take(len), &mut io::sink())? < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Reads `len` bytes, or skips them and returns `None` if they are too many for a name.
    pub(super) fn content(&mut self, len: u64) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        let kept = len.min(LONGEST_TEXT);
        if (self.0.by_ref().take(kept).read_to_end(&mut bytes)? as u64) < kept {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.skip(len - kept)?;
        bytes.shrink_to_fit();
        Ok((kept == len).then_some(bytes))
    }

    /// Reads up to the end of a line, which is not included.
    pub(super) fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                byte if (line.len() as u64) < LONGEST_TEXT => line.push(byte),
                _ => {}
            }
        }
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        Ok(String::from_utf8_lossy(line).into_owned())
    }
}
