//! The caller's own buffers.

use std::marker::PhantomData;

use crate::config::RecurrentConfig;
use crate::layer::kind::{GruKind, LstmKind, RnnKind};
use crate::plan::bytes::BufferBytes;
use crate::{Error, Result};

/// The caller's device buffers for [`Placed::encode`](crate::Placed::encode): f32, dense, in PyTorch's shapes. They may
/// be larger than needed. [`LstmBuffers`](crate::LstmBuffers), [`GruBuffers`](crate::GruBuffers) and
/// [`RnnBuffers`](crate::RnnBuffers) are its three kinds; c_0 and c_n are the LSTM's alone.
///
/// | buffer | shape | usages |
/// |---|---|---|
/// | input | `[T, B, I]`, batch_first `[B, T, I]` | `STORAGE` |
/// | output | `[T, B, D·P]`, batch_first `[B, T, D·P]` | `STORAGE` |
/// | h_n, c_n | `[L·D, B, P]`, `[L·D, B, H]` | `STORAGE`, `COPY_DST` |
/// | h_0, c_0 | `[L·D, B, P]`, `[L·D, B, H]` | `COPY_SRC` |
///
/// The initial states are copied before anything is computed, so h_0 and c_0 may be the very buffers of h_n and c_n: a
/// state that is carried from call to call. All others must be different buffers.
#[derive(Clone, Debug)]
pub struct Buffers<'a, K> {
    pub(super) input: &'a wgpu::Buffer,
    pub(super) output: &'a wgpu::Buffer,
    pub(super) h_n: &'a wgpu::Buffer,
    /// c_n of an LSTM.
    pub(super) carried: Vec<&'a wgpu::Buffer>,
    /// h_0 and what else the cell carries; zeros if `None`.
    pub(super) initial: Option<Vec<&'a wgpu::Buffer>>,
    kind: PhantomData<K>,
}

impl<'a> Buffers<'a, LstmKind> {
    /// Buffers of a forward from zero states.
    pub fn new(
        input: &'a wgpu::Buffer,
        output: &'a wgpu::Buffer,
        h_n: &'a wgpu::Buffer,
        c_n: &'a wgpu::Buffer,
    ) -> Self {
        Self { input, output, h_n, carried: vec![c_n], initial: None, kind: PhantomData }
    }

    /// The same from the given initial states.
    #[must_use]
    pub fn initial(mut self, h_0: &'a wgpu::Buffer, c_0: &'a wgpu::Buffer) -> Self {
        self.initial = Some(vec![h_0, c_0]);
        self
    }
}

/// The constructors of the kinds whose state is h alone.
macro_rules! buffers_of_h {
    ($kind:ident) => {
        impl<'a> Buffers<'a, $kind> {
            /// Buffers of a forward from a zero state.
            pub fn new(input: &'a wgpu::Buffer, output: &'a wgpu::Buffer, h_n: &'a wgpu::Buffer) -> Self {
                Self { input, output, h_n, carried: vec![], initial: None, kind: PhantomData }
            }

            /// The same from the given initial state.
            #[must_use]
            pub fn initial(mut self, h_0: &'a wgpu::Buffer) -> Self {
                self.initial = Some(vec![h_0]);
                self
            }
        }
    };
}

buffers_of_h!(GruKind);
buffers_of_h!(RnnKind);

impl<K> Buffers<'_, K> {
    /// Sizes, usages, and that no buffer stands for two things.
    pub(super) fn check(&self, config: &RecurrentConfig, bytes: &BufferBytes) -> Result<()> {
        use wgpu::BufferUsages as Use;
        let in_place = Use::STORAGE | Use::COPY_DST;
        let names = config.cell.states();
        let last: Vec<_> = std::iter::once(self.h_n).chain(self.carried.iter().copied()).collect();
        let sizes: Vec<u64> = bytes.states(config).collect();
        let mut needs =
            vec![("input", self.input, bytes.input, Use::STORAGE), ("output", self.output, bytes.output, Use::STORAGE)];
        needs.extend(
            names.iter().zip(&last).zip(&sizes).map(|((name, &buffer), &size)| (name.last, buffer, size, in_place)),
        );
        let same = |name, other: &str| {
            let expected = format!("a buffer other than {other}'s");
            Err(Error::Buffer { name, expected, got: "the same".to_owned() })
        };
        for (i, (name, buffer, ..)) in needs.iter().enumerate() {
            if let Some((other, ..)) = needs[..i].iter().find(|(_, earlier, ..)| earlier == buffer) {
                return same(name, other);
            }
        }
        for (i, &first) in self.initial.iter().flatten().enumerate() {
            // An initial state may be its own last state, but no other's.
            for (j, last) in last.iter().enumerate() {
                if i != j && first == *last {
                    return same(names[i].initial, names[j].last);
                }
            }
            needs.push((names[i].initial, first, sizes[i], Use::COPY_SRC));
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
