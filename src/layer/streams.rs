//! Many independent streams through one layer, their states resident where it runs.

use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(doc)]
use crate::Placed;
use crate::call::Call;
use crate::device::Device;
use crate::extents::Extents;
use crate::gpu::Wait;
use crate::layer::config::Config;
use crate::layer::kind::Kind;
use crate::options::Options;
use crate::session::Session;
use crate::{Error, Real, Result, Tensor};

/// The name of one stream of [`Streams`]. No two streams of a program ever have the same, so that one which was removed, or
/// belongs to other streams, is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u64);

impl Slot {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Many independent live sequences through one layer: each slot is a stream with a state of its own, which stays on the device
/// from push to push. [`Placed::streams`] makes it.
///
/// ```
/// use wgpu_rnn::{Device, Gru, GruConfig, Options, Tensor};
///
/// let gru = Gru::random(GruConfig::new(2, 3), 0)?.to(&Device::cpu())?;
/// let mut streams = gru.streams(2)?;
/// let output = streams.push(&Tensor::zeros([5, 2, 2])?)?; // five steps of both: [T, B, I]
/// assert_eq!(output.shape(), [5, 2, 3]);
///
/// let late = streams.add()?; // a third one
/// let output = streams.push_to(&[late], &Tensor::zeros([4, 1, 2])?, &Options::new())?;
/// assert_eq!(output.shape(), [4, 1, 3]);
/// assert_eq!(streams.snapshot(late)?.shape(), [1, 3]); // [L, H]
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
///
/// **A stream cut into pushes gives the bits of the whole**, wherever it is cut and whichever others are pushed with it. The
/// capacity at the start chooses the kernel's tile: it is what a forward of so many rows takes, and streams of another capacity
/// may round differently. Slots added later change nothing, so a program that starts with few and expects many should say so
/// ([`Placed::streams_with_capacity`]): a tile for one row reads all weights for each row.
///
/// A push that is refused (a wrong shape, an unknown slot, a limit) has changed nothing. After any other error, or when the future
/// of an async call is dropped before its end, the states of its slots are unspecified: [`reset`](Self::reset) or
/// [`restore`](Self::restore) them.
#[derive(Debug)]
pub struct Streams<K, F = f32> {
    config: Config<K>,
    device: Device,
    session: Session<F>,
    /// In the order in which they were added, which is that of their names.
    slots: Vec<Slot>,
    /// The row of the session's states that is each slot's.
    rows: Vec<usize>,
    free: Vec<usize>,
}

impl<K: Kind, F: Real> Streams<K, F> {
    pub(super) fn new(config: Config<K>, device: Device, session: Session<F>, count: usize) -> Self {
        let free = (count..session.rows()).rev().collect();
        let mut streams = Self { config, device, session, slots: Vec::new(), rows: Vec::new(), free };
        for row in 0..count {
            streams.occupy(row);
        }
        streams
    }

    /// The slots in the order in which they were added: the order of the rows of [`push`](Self::push).
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The configuration of the layer.
    pub fn config(&self) -> &Config<K> {
        &self.config
    }

    /// Where the streams are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Runs a chunk of T steps of all streams, in the order of [`slots`](Self::slots), and gives their output: input
    /// `[T, B, I]` to output `[T, B, P]`, `[B, T, ·]` with batch_first, B being the number of slots.
    ///
    /// # Errors
    /// [`Error::Shape`] for a chunk of the wrong shape, [`Error::Limit`] for one that the device cannot hold, both before any
    /// work; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn push(&mut self, chunk: &Tensor<F>) -> Result<Tensor<F>> {
        pollster::block_on(self.run(None, chunk, &Options::new(), Wait::Blocking))
    }

    /// [`push`](Self::push) with options: how many steps each stream has, where they differ.
    ///
    /// # Errors
    /// As [`push`](Self::push); [`Error::Shape`] unless there is a length for each row, [`Error::Config`] for a length above T.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn push_with(&mut self, chunk: &Tensor<F>, options: &Options<'_>) -> Result<Tensor<F>> {
        pollster::block_on(self.run(None, chunk, options, Wait::Blocking))
    }

    /// [`push_with`](Self::push_with) without blocking.
    ///
    /// # Errors
    /// As [`push_with`](Self::push_with).
    pub async fn push_with_async(&mut self, chunk: &Tensor<F>, options: &Options<'_>) -> Result<Tensor<F>> {
        self.run(None, chunk, options, Wait::Async).await
    }

    /// [`push`](Self::push) without blocking.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub async fn push_async(&mut self, chunk: &Tensor<F>) -> Result<Tensor<F>> {
        self.run(None, chunk, &Options::new(), Wait::Async).await
    }

    /// Runs a chunk of some of the streams: row b of it is the stream `slots[b]`. The options say how many steps each row has,
    /// where they differ. One slot may take an unbatched chunk `[T, I]`.
    ///
    /// # Errors
    /// As [`push`](Self::push); [`Error::Config`] for a slot that is not there or comes twice, and for a length above T.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn push_to(&mut self, slots: &[Slot], chunk: &Tensor<F>, options: &Options<'_>) -> Result<Tensor<F>> {
        pollster::block_on(self.run(Some(slots), chunk, options, Wait::Blocking))
    }

    /// [`push_to`](Self::push_to) without blocking.
    ///
    /// # Errors
    /// As [`push_to`](Self::push_to).
    pub async fn push_to_async(
        &mut self,
        slots: &[Slot],
        chunk: &Tensor<F>,
        options: &Options<'_>,
    ) -> Result<Tensor<F>> {
        self.run(Some(slots), chunk, options, Wait::Async).await
    }

    async fn run(
        &mut self,
        slots: Option<&[Slot]>,
        chunk: &Tensor<F>,
        options: &Options<'_>,
        wait: Wait,
    ) -> Result<Tensor<F>> {
        let extents = Extents::of_input(&self.config.0, chunk.shape())?;
        let count = slots.unwrap_or(&self.slots).len();
        if extents.batch != count {
            let expected = format!("B = {count}, as there are so many slots to push");
            return Err(Error::Shape { what: "input".to_owned(), expected, got: chunk.shape().to_vec() });
        }
        let state_rows = match slots {
            Some(slots) => self.rows_of(slots)?,
            None => self.rows.clone(),
        };
        let call = Call::new(extents, options)?.with_state_rows(state_rows);
        let output = self.session.push(call, chunk.data(), wait).await?;
        Tensor::new(extents.shape(self.config.0.output_size()), output)
    }

    /// A new stream with a zero state. Where there is no room left, more is made; every state stays.
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::TooLarge`] when there cannot be more states; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn add(&mut self) -> Result<Slot> {
        pollster::block_on(self.add_waiting(Wait::Blocking))
    }

    /// [`add`](Self::add) without blocking.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub async fn add_async(&mut self) -> Result<Slot> {
        self.add_waiting(Wait::Async).await
    }

    async fn add_waiting(&mut self, wait: Wait) -> Result<Slot> {
        let row = match self.free.last() {
            Some(&row) => {
                // It may hold the state of a stream that was removed.
                self.session.write(row..row + 1, None, wait).await?;
                row
            }
            None => {
                let old = self.session.rows();
                match self.session.grow(old.saturating_mul(2)).await {
                    // Room for many is not worth an error where there is room for one.
                    Err(Error::Limit { .. } | Error::OutOfMemory { .. } | Error::TooLarge { .. }) => {
                        self.session.grow(old + 1).await?;
                    }
                    grown => grown?,
                }
                self.free.extend((old..self.session.rows()).rev());
                old
            }
        };
        self.free.pop();
        Ok(self.occupy(row))
    }

    fn occupy(&mut self, row: usize) -> Slot {
        let slot = Slot::next();
        self.slots.push(slot);
        self.rows.push(row);
        slot
    }

    /// Ends a stream. Its name is never used again, its room is.
    ///
    /// # Errors
    /// [`Error::Config`] for a slot that is not there.
    pub fn remove(&mut self, slot: Slot) -> Result<()> {
        let at = self.position(slot)?;
        self.slots.remove(at);
        self.free.push(self.rows.remove(at));
        Ok(())
    }

    /// Sets the state of a stream to zeros, as at its start.
    ///
    /// # Errors
    /// [`Error::Config`] for a slot that is not there; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn reset(&mut self, slot: Slot) -> Result<()> {
        pollster::block_on(self.set(slot, None, Wait::Blocking))
    }

    /// [`reset`](Self::reset) without blocking.
    ///
    /// # Errors
    /// As [`reset`](Self::reset).
    pub async fn reset_async(&mut self, slot: Slot) -> Result<()> {
        self.set(slot, None, Wait::Async).await
    }

    /// The state of a stream: h `[L, P]`, and of an LSTM c `[L, H]`, the shapes of an unbatched forward.
    ///
    /// # Errors
    /// [`Error::Config`] for a slot that is not there; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn snapshot(&self, slot: Slot) -> Result<K::State<F>> {
        pollster::block_on(self.read(slot, Wait::Blocking))
    }

    /// [`snapshot`](Self::snapshot) without blocking.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot).
    pub async fn snapshot_async(&self, slot: Slot) -> Result<K::State<F>> {
        self.read(slot, Wait::Async).await
    }

    async fn read(&self, slot: Slot, wait: Wait) -> Result<K::State<F>> {
        let row = self.row(slot)?;
        let arrays = self.session.read(row..row + 1, wait).await?;
        let shaped = arrays.into_iter().enumerate().map(|(s, array)| Tensor::new(self.state_shape(s), array));
        K::state(shaped.collect::<Result<_>>()?)
    }

    /// Sets the state of a stream to a snapshot, of whatever stream.
    ///
    /// # Errors
    /// [`Error::Config`] for a slot that is not there, [`Error::Shape`] for a state of another shape than a snapshot's;
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn restore(&mut self, slot: Slot, state: &K::State<F>) -> Result<()> {
        pollster::block_on(self.set(slot, Some(state), Wait::Blocking))
    }

    /// [`restore`](Self::restore) without blocking.
    ///
    /// # Errors
    /// As [`restore`](Self::restore).
    pub async fn restore_async(&mut self, slot: Slot, state: &K::State<F>) -> Result<()> {
        self.set(slot, Some(state), Wait::Async).await
    }

    async fn set(&mut self, slot: Slot, state: Option<&K::State<F>>, wait: Wait) -> Result<()> {
        let row = self.row(slot)?;
        let arrays = state.map(K::arrays);
        for (s, array) in arrays.iter().flatten().enumerate() {
            let (name, expected) = (self.config.0.cell.states()[s].initial, self.state_shape(s));
            if array.shape() != expected {
                let expected =
                    format!("{expected:?} ([L, {}], the state of one stream)", self.config.0.state_letter(s));
                return Err(Error::Shape { what: name.to_owned(), expected, got: array.shape().to_vec() });
            }
        }
        let data: Option<Vec<&[F]>> = arrays.map(|arrays| arrays.into_iter().map(Tensor::data).collect());
        self.session.write(row..row + 1, data.as_deref(), wait).await
    }

    fn state_shape(&self, state: usize) -> Vec<usize> {
        vec![self.config.0.num_layers, self.config.0.state_size(state)]
    }

    fn position(&self, slot: Slot) -> Result<usize> {
        let missing = |_| slot_error("a slot of these streams that was not removed", format!("{slot:?}"));
        self.slots.binary_search(&slot).map_err(missing)
    }

    fn row(&self, slot: Slot) -> Result<usize> {
        Ok(self.rows[self.position(slot)?])
    }

    /// The rows of some slots, each of which comes once.
    fn rows_of(&self, slots: &[Slot]) -> Result<Vec<usize>> {
        let rows = slots.iter().map(|&slot| self.row(slot)).collect::<Result<_>>()?;
        let mut sorted = slots.to_vec();
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(twice) => Err(slot_error("each slot once", format!("{:?} twice", twice[0]))),
            None => Ok(rows),
        }
    }
}

fn slot_error(expected: &'static str, got: String) -> Error {
    Error::Config { argument: "slot", expected, got }
}
