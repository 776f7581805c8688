//! Many independent streams through one layer, whose states stay where it runs.

use std::fmt;
use std::slice::from_ref;

use crate::blocking::Wait;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::layer::config::Config;
use crate::layer::kind::Kind;
use crate::layer::placed::Placed;
use crate::layer::slots::{Slot, Slots};
use crate::real::Real;
use crate::request::Request;
use crate::session::Session;
use crate::tensor::Tensor;

/// Many independent live sequences through one layer: each slot is a stream with its own state, which stays on the
/// device between pushes. [`Placed::streams`] creates them.
///
/// ```
/// use wgpu_rnn::{Device, Gru, GruConfig, Tensor};
///
/// let gru = Gru::random(GruConfig::new(2, 3), 0)?.to(&Device::cpu())?;
/// let mut streams = gru.streams(2).run()?;
/// let output = streams.push(&Tensor::zeros([5, 2, 2])?)?; // five steps of both: [T, B, I]
/// assert_eq!(output.shape(), [5, 2, 3]);
///
/// let late = streams.add().run()?; // a third one
/// let output = streams.request(&Tensor::zeros([4, 1, 2])?).slots(&late).run()?;
/// assert_eq!(output.shape(), [4, 1, 3]);
///
/// let h = streams.snapshot(&[late, streams.slots()[0]]).run()?;
/// assert_eq!(h.shape(), [1, 2, 3]); // [L, B, H]: the state of a forward of two rows
/// streams.restore(&[streams.slots()[1], late], &h).run()?;
/// streams.reset(&late).run()?;
///
/// let all = streams.slots().to_vec(); // a copy, as `reset` and `restore` borrow the streams
/// streams.reset(&all).run()?;
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
///
/// **A stream cut into pushes gives the same bits as the whole**, wherever it is cut and whichever other streams are
/// pushed with it. The initial capacity determines the tile of the kernel, as the batch of a forward would, so streams
/// of another capacity may round differently. Slots added later make no difference, so a program that starts with few
/// streams and expects many should say so ([`Request::capacity`]): a tile for one row reads all weights for each row.
///
/// A push that is rejected (a wrong shape, an unknown slot, a limit) changes nothing. After any other error, or if the
/// future of an awaited call is dropped before it completes, the states of its slots are unspecified:
/// [`reset`](Self::reset) or [`restore`](Self::restore) them.
///
/// # Saving and resuming
/// A snapshot of all slots is restored into as many new streams, of this process or another. With the capacity that the
/// first were started with, they continue with the same bits:
///
/// ```
/// use wgpu_rnn::{Device, Gru, GruConfig, Tensor, TensorFile};
///
/// let gru = Gru::random(GruConfig::new(2, 3), 0)?.to(&Device::cpu())?;
/// let mut streams = gru.streams(2).capacity(64).run()?;
/// streams.push(&Tensor::zeros([5, 2, 2])?)?;
///
/// let all = streams.slots().to_vec();
/// let h = streams.snapshot(&all).run()?;
/// let saved = TensorFile::serialize(&[("h", &h)])?; // `TensorFile::save` writes a file
///
/// let h = TensorFile::from_bytes(saved)?.tensor("h")?.expect("saved above"); // [L, B, H]
/// let mut resumed = gru.streams(h.shape()[1]).capacity(64).run()?;
/// let all = resumed.slots().to_vec();
/// resumed.restore(&all, &h).run()?;
///
/// let chunk = Tensor::zeros([3, 2, 2])?;
/// assert_eq!(resumed.push(&chunk)?, streams.push(&chunk)?);
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
pub struct Streams<K: Kind, F: Real = f32> {
    pub(super) layer: Placed<K, F>,
    pub(super) session: Session<F>,
    pub(super) slots: Slots,
}

/// The question of [`Placed::streams`].
pub struct NewStreams<'a, K: Kind, F: Real> {
    placed: &'a Placed<K, F>,
    count: usize,
    capacity: usize,
}

impl<K: Kind, F: Real> Placed<K, F> {
    /// Creates `count` streams with zero states, which stay on the layer's device. They run in evaluation mode,
    /// whatever mode is set later. [`Request::capacity`] makes room for more.
    ///
    /// ```
    /// use wgpu_rnn::{Device, Gru, GruConfig};
    ///
    /// let gru = Gru::random(GruConfig::new(2, 3), 0)?.to(&Device::cpu())?;
    /// let streams = gru.streams(0).capacity(1000).run()?;
    /// # Ok::<(), wgpu_rnn::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the request runs: [`Error::Unsupported`] for a bidirectional layer, whose reverse direction starts at the
    /// end of a sequence, which a stream does not have, and for dropout in training mode; [`Error::Limit`] or
    /// [`Error::TooLarge`] if the states do not fit; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn streams(&self, count: usize) -> Request<'_, Streams<K, F>, NewStreams<'_, K, F>> {
        let question = NewStreams { placed: self, count, capacity: count };
        Request::new(question, |question, _| Box::pin(question.streams()))
    }
}

impl<T, K: Kind, F: Real> Request<'_, T, NewStreams<'_, K, F>> {
    /// Makes room for `capacity` streams and chooses kernels for that many: for programs that start with few streams
    /// and expect more.
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.question.capacity = capacity;
        self
    }
}

impl<K: Kind, F: Real> NewStreams<'_, K, F> {
    async fn streams(self) -> Result<Streams<K, F>> {
        let Self { placed, count, capacity } = self;
        if placed.drops_out() {
            return Err(Error::Unsupported {
                what: "dropout over streams".to_owned(),
                why: "a stream's results do not depend on how it is cut, but each call draws its own masks; \
                      set the mode to evaluation"
                    .to_owned(),
            });
        }
        if placed.config().bidirectional() || placed.config().reverse() {
            let which = if placed.config().reverse() { "reverse" } else { "bidirectional" };
            return Err(Error::Unsupported {
                what: format!("a {which} layer over streams"),
                why: "the reverse direction starts at the end of a sequence, and a stream has none".to_owned(),
            });
        }
        let session = Session::new(placed.model(), capacity.max(count).max(1), true).await?;
        let slots = Slots::new(session.rows(), count)?;
        Ok(Streams { layer: placed.clone(), session, slots })
    }
}

impl<K: Kind, F: Real> Streams<K, F> {
    /// Returns the slots in the order in which they were added, which is the order of the rows of [`push`](Self::push).
    pub fn slots(&self) -> &[Slot] {
        self.slots.names()
    }

    /// Returns the number of streams that fit before [`add`](Self::add) has to make room.
    pub fn capacity(&self) -> usize {
        self.session.rows()
    }

    /// Returns the layer that the streams go through.
    pub fn layer(&self) -> &Placed<K, F> {
        &self.layer
    }

    /// Returns the configuration of the layer.
    pub fn config(&self) -> &Config<K> {
        self.layer.config()
    }

    /// Returns the device that the streams run on.
    pub fn device(&self) -> &Device {
        self.layer.device()
    }

    /// Adds a stream with a zero state, making room if necessary; all states are kept.
    ///
    /// # Errors
    /// When the request runs: [`Error::Limit`] or [`Error::TooLarge`] if there is no room for more states;
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn add(&mut self) -> Request<'_, Slot> {
        Request::plain(move |wait| self.add_waiting(wait))
    }

    async fn add_waiting(&mut self, wait: Wait) -> Result<Slot> {
        let row = match self.slots.next_row() {
            Some(row) => {
                // The row may hold the state of a stream that was removed.
                self.session.write(from_ref(&(row..row + 1)), None, wait).await?;
                row
            }
            None => {
                let old = self.session.rows();
                match self.grow(old.saturating_mul(2)).await {
                    // Failing to make room for many is no error as long as there is room for one.
                    Err(Error::Limit { .. } | Error::OutOfMemory { .. } | Error::TooLarge { .. }) => {
                        self.grow(old.saturating_add(1)).await?;
                    }
                    grown => grown?,
                }
                old
            }
        };
        Ok(self.slots.occupy(row))
    }

    /// Makes room for `rows` streams, in the lists before the states.
    async fn grow(&mut self, rows: usize) -> Result<()> {
        let old = self.session.rows();
        self.slots.reserve(rows)?;
        self.session.grow(rows).await?;
        self.slots.free_rows(old..rows);
        Ok(())
    }

    /// Ends a stream. Its name is never used again, but its room is.
    ///
    /// # Errors
    /// [`Error::Config`] for a slot that does not exist.
    pub fn remove(&mut self, slot: Slot) -> Result<()> {
        self.slots.remove(slot)
    }

    /// Sets the states of some streams to zeros, as at their start.
    ///
    /// # Errors
    /// When the request runs: [`Error::Config`] for a slot that does not exist or appears twice;
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn reset<'a>(&'a mut self, slots: &'a (impl AsRef<[Slot]> + ?Sized)) -> Request<'a, ()> {
        let slots = slots.as_ref();
        Request::plain(move |wait| self.set(slots, None, wait))
    }

    /// Reads the states of some streams in one readback: h `[L, B, P]` and, for an LSTM, c `[L, B, H]`; row b belongs
    /// to `slots[b]`. It has the form of the state of a forward of B rows.
    ///
    /// # Errors
    /// When the request runs: [`Error::Config`] for a slot that does not exist or appears twice; [`Error::Limit`] for
    /// more than the device can read back at once; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn snapshot<'a>(&'a self, slots: &'a (impl AsRef<[Slot]> + ?Sized)) -> Request<'a, K::State<F>> {
        let slots = slots.as_ref();
        Request::plain(move |wait| self.read(slots, wait))
    }

    async fn read(&self, slots: &[Slot], wait: Wait) -> Result<K::State<F>> {
        let arrays = self.session.read(&self.slots.ranges_of(slots)?, wait).await?;
        let shape = |s| vec![self.config().num_layers(), slots.len(), self.config().0.state_size(s)];
        let shaped = arrays.into_iter().enumerate().map(|(s, array)| Tensor::new(shape(s), array));
        K::state(shaped.collect::<Result<_>>()?)
    }

    /// Sets the states of some streams to a snapshot, taken from any streams of a layer of this shape: row b goes to
    /// `slots[b]`. A single slot also accepts an unbatched state `[L, ·]`.
    ///
    /// # Errors
    /// When the request runs: [`Error::Config`] for a slot that does not exist or appears twice; [`Error::Shape`] for a
    /// state of another shape than a snapshot's; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn restore<'a>(
        &'a mut self,
        slots: &'a (impl AsRef<[Slot]> + ?Sized),
        state: &'a K::State<F>,
    ) -> Request<'a, ()> {
        let slots = slots.as_ref();
        Request::plain(move |wait| self.set(slots, Some(state), wait))
    }

    async fn set(&mut self, slots: &[Slot], state: Option<&K::State<F>>, wait: Wait) -> Result<()> {
        let rows = self.slots.ranges_of(slots)?;
        let arrays = state.map(K::arrays);
        let config = &self.config().0;
        for (s, array) in arrays.iter().flatten().enumerate() {
            let (layers, size) = (config.num_layers, config.state_size(s));
            let expected = [layers, slots.len(), size];
            if array.shape() != expected && !(slots.len() == 1 && array.shape() == [layers, size]) {
                let letter = config.state_letter(s);
                let expected = format!("{expected:?} ([L, B, {letter}], a row for each slot)");
                let what = config.cell.states()[s].initial.to_owned();
                return Err(Error::Shape { what, expected, got: array.shape().to_vec() });
            }
        }
        let data: Option<Vec<&[F]>> = arrays.map(|arrays| arrays.into_iter().map(Tensor::data).collect());
        self.session.write(&rows, data.as_deref(), wait).await
    }
}

/// Writes the same as [`Display`](fmt::Display): states are not printed.
impl<K: Kind, F: Real> fmt::Debug for Streams<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Streams({self})")
    }
}

/// Writes number, layer and device: "3 streams through LSTM(10, 20) on CPU".
impl<K: Kind, F: Real> fmt::Display for Streams<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.slots().len();
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{count} stream{plural} through {}", self.layer)
    }
}
