//! The caller's own buffers.

use crate::{Error, Result};

/// The caller's device buffers for [`PlacedLstm::encode`](crate::PlacedLstm::encode): f32, dense, in PyTorch's shapes. They may be larger than needed.
///
/// | buffer | shape | usages |
/// |---|---|---|
/// | input | `[T, B, I]`, batch_first `[B, T, I]` | `STORAGE` |
/// | output | `[T, B, D·H]`, batch_first `[B, T, D·H]` | `STORAGE` |
/// | h_n, c_n | `[L·D, B, H]` | `STORAGE`, `COPY_DST` |
/// | h_0, c_0 | `[L·D, B, H]` | `COPY_SRC` |
///
/// The initial states are copied before anything is computed, so h_0 and c_0 may be the very buffers of h_n and c_n: a
/// state that is carried from call to call. All others must be different buffers.
#[derive(Clone, Copy, Debug)]
pub struct LstmBuffers<'a> {
    pub(super) input: &'a wgpu::Buffer,
    pub(super) output: &'a wgpu::Buffer,
    pub(super) h_n: &'a wgpu::Buffer,
    pub(super) c_n: &'a wgpu::Buffer,
    pub(super) initial: Option<(&'a wgpu::Buffer, &'a wgpu::Buffer)>,
}

impl<'a> LstmBuffers<'a> {
    /// Buffers of a forward from zero states.
    pub fn new(
        input: &'a wgpu::Buffer,
        output: &'a wgpu::Buffer,
        h_n: &'a wgpu::Buffer,
        c_n: &'a wgpu::Buffer,
    ) -> Self {
        Self { input, output, h_n, c_n, initial: None }
    }

    /// The same from the given initial states.
    #[must_use]
    pub fn initial(mut self, h_0: &'a wgpu::Buffer, c_0: &'a wgpu::Buffer) -> Self {
        self.initial = Some((h_0, c_0));
        self
    }

    /// Sizes, usages, and that no buffer stands for two things; sizes are those of the plan in bytes.
    pub(super) fn check(&self, input: u64, output: u64, state: u64) -> Result<()> {
        use wgpu::BufferUsages as Use;
        let in_place = Use::STORAGE | Use::COPY_DST;
        let mut needs = vec![
            ("input", self.input, input, Use::STORAGE),
            ("output", self.output, output, Use::STORAGE),
            ("h_n", self.h_n, state, in_place),
            ("c_n", self.c_n, state, in_place),
        ];
        for (i, (name, buffer, ..)) in needs.iter().enumerate() {
            if let Some((other, ..)) = needs[..i].iter().find(|(_, earlier, ..)| earlier == buffer) {
                let expected = format!("a buffer other than {other}'s");
                return Err(Error::Buffer { name, expected, got: "the same".to_owned() });
            }
        }
        if let Some((h_0, c_0)) = self.initial {
            for (name, first, other, last) in [("h_0", h_0, "c_n", self.c_n), ("c_0", c_0, "h_n", self.h_n)] {
                if first == last {
                    let expected = format!("a buffer other than {other}'s");
                    return Err(Error::Buffer { name, expected, got: "the same".to_owned() });
                }
            }
            needs.push(("h_0", h_0, state, Use::COPY_SRC));
            needs.push(("c_0", c_0, state, Use::COPY_SRC));
        }
        for (name, buffer, bytes, usage) in needs {
            if buffer.size() < bytes {
                let (expected, got) = (format!("at least {bytes} bytes"), format!("{} bytes", buffer.size()));
                return Err(Error::Buffer { name, expected, got });
            }
            if !buffer.usage().contains(usage) {
                let (expected, got) = (format!("usages {usage:?}"), format!("{:?}", buffer.usage()));
                return Err(Error::Buffer { name, expected, got });
            }
        }
        Ok(())
    }
}
