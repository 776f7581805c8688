//! Single cells, one time step a call: on the host ([`Cell`]), on a device ([`PlacedCell`]), and their states there.

pub(crate) mod buffers;
pub(crate) mod input;
pub(crate) mod placed;
mod record;
mod shape;
pub(crate) mod state;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::blocking::Wait;
use crate::cell::buffers::CellBuffers;
use crate::cell::placed::PlacedCell;
use crate::cell::state::CellState;
use crate::cell_kind::Nonlinearity;
use crate::device::Device;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::layer::config::{Config, ForCell};
use crate::layer::kind::{GruKind, Kind, KindCell, LstmKind, RnnKind};
use crate::layer::place::Place;
use crate::model::PlacedModel;
use crate::real::Real;
use crate::request::Request;
use crate::weights::names::{Naming, Parameter};
use crate::weights::tensor_file::TensorFile;
use crate::weights::{self, LayerWeights, init, pytorch};

/// `torch.nn.LSTMCell` with its weights.
pub type LstmCell<F = f32> = Cell<LstmKind, F>;
/// `torch.nn.GRUCell` with its weights.
pub type GruCell<F = f32> = Cell<GruKind, F>;
/// `torch.nn.RNNCell` with its weights.
pub type RnnCell<F = f32> = Cell<RnnKind, F>;

/// The configuration of a [`Cell`].
pub type CellConfig<K> = Config<K, ForCell>;
/// The configuration of an [`LstmCell`].
pub type LstmCellConfig = CellConfig<LstmKind>;
/// The configuration of a [`GruCell`].
pub type GruCellConfig = CellConfig<GruKind>;
/// The configuration of an [`RnnCell`].
pub type RnnCellConfig = CellConfig<RnnKind>;

/// An [`LstmCell`] on a device.
pub type PlacedLstmCell<F = f32> = PlacedCell<LstmKind, F>;
/// A [`GruCell`] on a device.
pub type PlacedGruCell<F = f32> = PlacedCell<GruKind, F>;
/// An [`RnnCell`] on a device.
pub type PlacedRnnCell<F = f32> = PlacedCell<RnnKind, F>;

/// h and c of an [`LstmCell`], where the cell runs.
pub type LstmCellState<F = f32> = CellState<LstmKind, F>;
/// h of a [`GruCell`], where the cell runs.
pub type GruCellState<F = f32> = CellState<GruKind, F>;
/// h of an [`RnnCell`], where the cell runs.
pub type RnnCellState<F = f32> = CellState<RnnKind, F>;

/// Device buffers for a [`PlacedLstmCell`].
pub type LstmCellBuffers<'a> = CellBuffers<'a, LstmKind>;
/// Device buffers for a [`PlacedGruCell`].
pub type GruCellBuffers<'a> = CellBuffers<'a, GruKind>;
/// Device buffers for a [`PlacedRnnCell`].
pub type RnnCellBuffers<'a> = CellBuffers<'a, RnnKind>;

/// A recurrent cell with its weights, on the host: [`LstmCell`], [`GruCell`] or [`RnnCell`]. [`to`](Self::to) places it
/// on a device to run it, one time step a call.
///
/// Shapes and rules are those of
/// [`torch.nn.LSTMCell`](https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTMCell.html),
/// [`torch.nn.GRUCell`](https://docs.pytorch.org/docs/stable/generated/torch.nn.GRUCell.html) and
/// [`torch.nn.RNNCell`](https://docs.pytorch.org/docs/stable/generated/torch.nn.RNNCell.html). A whole sequence runs
/// faster through a [`Layer`](crate::Layer), which knows all steps at once.
///
/// ```
/// use wgpu_rnn::{Device, LstmCell, LstmCellConfig, LstmState, Tensor};
///
/// let cell = LstmCell::random(LstmCellConfig::new(10, 20), 0)?.to(&Device::cpu())?;
/// let x = vec![Tensor::zeros([3, 10])?; 5]; // five steps of [B, I]
///
/// let mut state = cell.zero_state(3).run()?; // h and c, where the cell runs
/// for x_t in &x {
///     cell.step(x_t, &mut state)?; // on a GPU reads nothing back
/// }
/// let LstmState { h, c } = state.read().run()?;
/// assert_eq!((h.shape(), c.shape()), (&[3, 20][..], &[3, 20][..])); // [B, H]
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
///
/// Cheap to clone: clones share the weights.
#[derive(Clone, PartialEq)]
pub struct Cell<K, F = f32> {
    config: CellConfig<K>,
    weights: Arc<LayerWeights<F>>,
}

impl<K: Kind> Cell<K> {
    /// Makes a cell with every weight and bias drawn uniformly from ±1/√H, as PyTorch initialises
    /// (`torch.nn.RNNCellBase.reset_parameters`), from a seeded generator.
    ///
    /// # Errors
    /// [`Error::Config`] for a size of 0, [`Error::TooLarge`] when memory for the weights cannot be had.
    pub fn random(config: CellConfig<K>, seed: u64) -> Result<Self> {
        config.0.validate::<f32>()?;
        let weights = init::uniform(&config.0, seed)?.swap_remove(0).into();
        Ok(Self { config, weights })
    }

    /// Reads a cell out of a safetensors file with PyTorch's names behind `prefix`: `{prefix}weight_ih` and so on.
    /// The presence of biases follows from the names, sizes from the shapes. F32, F64, F16 and BF16 are read.
    ///
    /// The [`nonlinearity`](Cell::with_nonlinearity) of an RNN cell and where the reset gate of a GRU cell acts
    /// ([`reset_after`](Cell::with_reset_after)) are not in the weights: they are read from the metadata keys
    /// `{prefix}nonlinearity` and `{prefix}reset_after` if the file has them, which
    /// [`save_safetensors`](Self::save_safetensors) writes and PyTorch does not, or set afterwards, or stated and
    /// checked by [`from_safetensors_with`](Self::from_safetensors_with).
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::SafeTensors`] for the file; [`Error::NoModel`] without a cell under the prefix,
    /// naming the prefixes that have one; [`Error::MissingTensor`], [`Error::UnexpectedTensor`], [`Error::Shape`],
    /// [`Error::Dtype`] or [`Error::NonFinite`] with the tensor's name, also for a cell of another kind;
    /// [`Error::Config`] for metadata with an unknown value; [`Error::TooLarge`] when memory cannot be had.
    pub fn from_safetensors(path: impl AsRef<Path>, prefix: &str) -> Result<Self> {
        Self::from_tensor_file(&TensorFile::open(path)?, prefix)
    }

    /// Reads the cell that `config` describes out of a safetensors file, as PyTorch's `load_state_dict` does: a file
    /// that holds another cell is an error.
    ///
    /// # Errors
    /// [`Error::ConfigMismatch`] with every argument that the file contradicts; otherwise as
    /// [`from_safetensors`](Self::from_safetensors).
    pub fn from_safetensors_with(config: CellConfig<K>, path: impl AsRef<Path>, prefix: &str) -> Result<Self> {
        Self::from_tensor_file_with(config, &TensorFile::open(path)?, prefix)
    }

    /// [`from_safetensors`](Self::from_safetensors) of a file that is open already.
    ///
    /// # Errors
    /// As [`from_safetensors`](Self::from_safetensors).
    pub fn from_tensor_file(file: &TensorFile, prefix: &str) -> Result<Self> {
        Self::from_tensor_file_as(file, prefix)
    }

    /// [`from_safetensors_with`](Self::from_safetensors_with) of a file that is open already.
    ///
    /// # Errors
    /// As [`from_safetensors_with`](Self::from_safetensors_with).
    pub fn from_tensor_file_with(config: CellConfig<K>, file: &TensorFile, prefix: &str) -> Result<Self> {
        let mut weights = pytorch::read_as_configured(Naming::Cell, &config.0, file, prefix)?;
        Self::checked(config, weights.swap_remove(0), prefix)
    }

    /// [`from_tensor_file`](Self::from_tensor_file) in a number type of choice:
    /// `LstmCell::from_tensor_file_as::<f64>(&file, prefix)`.
    ///
    /// # Errors
    /// As [`from_safetensors`](Self::from_safetensors).
    pub fn from_tensor_file_as<F: Real>(file: &TensorFile, prefix: &str) -> Result<Cell<K, F>> {
        let KindCell(cell) = K::CELL;
        let (config, mut weights) = pytorch::read(Naming::Cell, cell, file, prefix)?;
        Cell::checked(CellConfig::of(config), weights.swap_remove(0), prefix)
    }
}

impl<K: Kind, F: Real> Cell<K, F> {
    /// Makes a cell of the given weights: `weight_ih [G·H, I]`, `weight_hh [G·H, H]` and the biases `[G·H]`.
    ///
    /// # Errors
    /// [`Error::Config`] for a size of 0; [`Error::Shape`], [`Error::MissingTensor`] or [`Error::UnexpectedTensor`]
    /// when the weights do not fit the configuration; [`Error::NonFinite`] for a NaN or infinite weight.
    pub fn new(config: CellConfig<K>, weights: LayerWeights<F>) -> Result<Self> {
        Self::checked(config, weights, "")
    }

    fn checked(config: CellConfig<K>, weights: LayerWeights<F>, prefix: &str) -> Result<Self> {
        config.0.validate::<F>()?;
        let name = |parameter: Parameter| Naming::Cell.name(prefix, parameter);
        weights::validate(&config.0, std::slice::from_ref(&weights), name)?;
        Ok(Self { config, weights: weights.into() })
    }

    /// Writes the cell to a safetensors file under PyTorch's names behind `prefix`, in its own number type.
    ///
    /// # Errors
    /// As [`TensorFile::save`], which says when a file appears whole.
    pub fn save_safetensors(&self, path: impl AsRef<Path>, prefix: &str) -> Result<()> {
        pytorch::save(Naming::Cell, &self.config.0, std::slice::from_ref(&self.weights), path.as_ref(), prefix)
    }

    /// Returns the same cell in another number type, each weight the nearest value: f32 to f64 is exact.
    ///
    /// # Errors
    /// [`Error::NonFinite`] when a weight is beyond the range of `G`.
    pub fn cast<G: Real>(&self) -> Result<Cell<K, G>> {
        Cell::new(self.config.clone(), self.weights.cast()?)
    }

    /// Returns the configuration.
    pub fn config(&self) -> &CellConfig<K> {
        &self.config
    }

    /// Returns the weights.
    pub fn weights(&self) -> &LayerWeights<F> {
        &self.weights
    }

    /// Places the cell on a device: weights are packed and uploaded once. [`place`](Self::place) can choose another
    /// precision, and does not block.
    ///
    /// # Errors
    /// [`Error::Limit`] when the device cannot hold a weight, [`Error::OutOfMemory`], [`Error::DeviceLost`];
    /// [`Error::Unsupported`] for f64 on a GPU.
    #[doc(alias = "forward")]
    #[cfg(not(target_arch = "wasm32"))]
    pub fn to(&self, device: &Device) -> Result<PlacedCell<K, F>> {
        pollster::block_on(Place::new(self, device).cell(Wait::Blocking))
    }

    /// Requests placing the cell on a device, with weights in a [precision](Request::precision). See [`Request`].
    ///
    /// # Errors
    /// When it runs, as [`to`](Self::to).
    #[doc(alias = "forward")]
    pub fn place<'a>(&'a self, device: &'a Device) -> Request<'a, PlacedCell<K, F>, Place<'a, Self>> {
        Request::new(Place::new(self, device), |place, wait| Box::pin(place.cell(wait)))
    }
}

impl<K: Kind, F: Real> Place<'_, Cell<K, F>> {
    async fn cell(self, wait: Wait) -> Result<PlacedCell<K, F>> {
        let Self { module: cell, device, precision } = self;
        let (config, weights) = (&cell.config.0, std::slice::from_ref(&*cell.weights));
        let weights = weights::in_precision(config, weights, precision, |parameter| parameter.kind.stem().to_owned())?;
        let model = PlacedModel::new(config, &weights, device, precision, wait).await?;
        Ok(PlacedCell::new(cell.clone(), device.clone(), model))
    }
}

impl<F: Real> Cell<GruKind, F> {
    /// The same cell with its reset gate after the recurrent product (true) or before it, which weights do not tell:
    /// [`GruCellConfig::with_reset_after`](Config::with_reset_after).
    #[must_use]
    pub fn with_reset_after(mut self, reset_after: bool) -> Self {
        self.config = self.config.with_reset_after(reset_after);
        self
    }
}

impl<F: Real> Cell<RnnKind, F> {
    /// Returns the same cell with another nonlinearity, which weights do not tell.
    #[must_use]
    pub fn with_nonlinearity(mut self, nonlinearity: Nonlinearity) -> Self {
        self.config = self.config.with_nonlinearity(nonlinearity);
        self
    }
}

/// As of [`Display`](fmt::Display): weights are not printed.
impl<K: Kind, F: Real> fmt::Debug for Cell<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cell({self})")
    }
}

/// As `print(module)` in PyTorch, in Rust's spelling: "LSTMCell(10, 20)".
impl<K: Kind, F: Real> fmt::Display for Cell<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}
