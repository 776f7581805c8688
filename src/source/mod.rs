//! Layers out of files of any format, in PyTorch's form.

pub(crate) mod format;
pub(crate) mod imported;
#[cfg(feature = "keras")]
mod keras;
pub(crate) mod layer;
#[cfg(feature = "onnx")]
mod onnx;
#[cfg(feature = "onnx")]
mod save_onnx;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::formats::input::Input;
#[cfg(feature = "keras")]
use crate::formats::keras::KerasFile;
#[cfg(feature = "onnx")]
use crate::formats::onnx::OnnxFile;
use crate::layer::any::AnyLayer;
use crate::real::Real;
use crate::source::format::Format;
use crate::source::imported::Imported;
use crate::source::layer::SourceLayer;
use crate::tensor::IntoElements;
use crate::weights::inventory::LayerKind;
use crate::weights::tensor_file::TensorFile;

/// A file with recurrent layers, of any format that is compiled in: the format is told by the content, not by the name.
///
/// | format | feature | what it is |
/// |---|---|---|
/// | safetensors | | tensors by PyTorch's names |
/// | PyTorch's `.pt`, `.pth`, `.ckpt` | `pytorch` | the same |
/// | NumPy's `.npz`, `.npy` | `npz` | the same |
/// | ONNX | `onnx`, on by default | nodes LSTM, GRU and RNN; a model without them is read as tensors |
/// | Keras's `.h5`, `.weights.h5`, `.keras` | `keras` | layers LSTM, GRU and SimpleRNN, and `Bidirectional` ones |
///
/// ```no_run
/// use wgpu_rnn::{AnyLayer, Device, Source, Tensor};
///
/// let source = Source::open("model.onnx")?;
/// for layer in source.layers() {
///     println!("{layer}"); // encoder: LSTM(80, 512, bidirectional=true)
/// }
/// let imported = source.layer("encoder")?;
/// if let AnyLayer::Lstm(lstm) = imported.layer() {
///     let (output, state) = lstm.to(&Device::auto())?.forward(&Tensor::zeros([100, 8, 80])?, None)?;
///     # let _ = (output, state);
/// }
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
pub struct Source {
    content: Content,
    /// The kind that the caller says that layers have.
    kind: Option<LayerKind>,
}

enum Content {
    Tensors(Box<TensorFile>),
    #[cfg(feature = "onnx")]
    Onnx {
        file: Box<OnnxFile>,
        stacks: Vec<Vec<usize>>,
    },
    #[cfg(feature = "keras")]
    Keras(Box<KerasFile>),
}

impl Source {
    /// Opens a file and reads what it says about its layers; weights are read when one is loaded. An ONNX model may
    /// have its numbers in other files of the same folder.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read; [`Error::Format`] and [`Error::SafeTensors`] if it does not follow its
    /// format; [`Error::Unsupported`], with what it is, for a file without a recurrent layer that can be read, or of a
    /// format that is not compiled in.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::of(Input::open(path.as_ref())?)
    }

    /// Reads a file from its bytes: a `Vec` is used as it is, a slice is copied.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open); [`Error::TooLarge`] if memory for a copy cannot be allocated.
    pub fn from_bytes(bytes: impl IntoElements<u8>) -> Result<Self> {
        Self::of(Input::from_bytes(bytes.into_elements("the file")?))
    }

    fn of(input: Arc<Input>) -> Result<Self> {
        let content = match Format::of(&input)? {
            Format::Tensors => Content::Tensors(Box::new(TensorFile::of(input)?)),
            #[cfg(feature = "onnx")]
            Format::Onnx => Self::onnx(input)?,
            #[cfg(feature = "keras")]
            Format::Keras => Content::Keras(Box::new(KerasFile::of(&input)?)),
            #[cfg(not(all(feature = "onnx", feature = "keras")))]
            other => {
                let (what, feature) =
                    if other == Format::Onnx { ("an ONNX model", "onnx") } else { ("a file of Keras", "keras") };
                let why = format!("the feature `{feature}` of wgpu-rnn, which reads it, is off");
                return Err(Error::Unsupported { what: format!("{}, {what},", input.origin()), why });
            }
        };
        Ok(Self { content, kind: None })
    }

    #[cfg(feature = "onnx")]
    fn onnx(input: Arc<Input>) -> Result<Content> {
        let origin = input.origin();
        let file = OnnxFile::of(input)?;
        let Some(no_nodes) = file.no_nodes() else {
            let stacks = file.stacks().into_iter().filter(|stack| stack.len() > 1).collect();
            return Ok(Content::Onnx { file: Box::new(file), stacks });
        };
        let tensors = TensorFile::of_onnx(origin, file);
        match tensors.recurrent_prefixes().is_empty() && tensors.cell_prefixes().is_empty() {
            true => Err(no_nodes),
            false => Ok(Content::Tensors(Box::new(tensors))),
        }
    }

    /// Tells the kind of the layers, which weights-only files of Keras may not tell. Loading a layer that is known to
    /// be of another kind is an error.
    #[must_use]
    pub fn with_kind(self, kind: LayerKind) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// Returns the name of the format: "safetensors", "PyTorch", "NumPy", "ONNX" or "Keras".
    pub fn format(&self) -> &'static str {
        match &self.content {
            Content::Tensors(file) => file.format(),
            #[cfg(feature = "onnx")]
            Content::Onnx { .. } => "ONNX",
            #[cfg(feature = "keras")]
            Content::Keras(_) => "Keras",
        }
    }

    /// Returns the tensors by their names, if the file is of such a format: to rename them, or to read others.
    pub fn tensors(&self) -> Option<&TensorFile> {
        match &self.content {
            Content::Tensors(file) => Some(file),
            #[cfg(any(feature = "onnx", feature = "keras"))]
            _ => None,
        }
    }

    /// Returns the tensors by their names like [`tensors`](Self::tensors), without the rest.
    pub fn into_tensors(self) -> Option<TensorFile> {
        match self.content {
            Content::Tensors(file) => Some(*file),
            #[cfg(any(feature = "onnx", feature = "keras"))]
            _ => None,
        }
    }

    /// Returns the recurrent layers in the order of the file, without loading any. Layers of ONNX that form one deep
    /// layer follow as such.
    pub fn layers(&self) -> Vec<SourceLayer> {
        match &self.content {
            Content::Tensors(file) => file.layers().iter().map(bag_layer).collect(),
            #[cfg(feature = "onnx")]
            Content::Onnx { file, stacks } => onnx::layers(file, stacks),
            #[cfg(feature = "keras")]
            Content::Keras(file) => file.layers().iter().map(|layer| layer.described(self.kind)).collect(),
        }
    }

    /// Loads the layer of a [name](SourceLayer::name); the dot at the end of a prefix may be left out.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none; [`Error::Unsupported`] for one that cannot run here, by the name of what
    /// stands in the way; otherwise the errors of [`open`](Self::open), [`Error::NonFinite`] for a NaN or infinite
    /// weight, and [`Error::TooLarge`] if memory cannot be allocated.
    pub fn layer(&self, name: &str) -> Result<Imported> {
        self.layer_as(name)
    }

    /// Does the same as [`layer`](Self::layer) in a given number type: `source.layer_as::<f64>(name)`.
    ///
    /// # Errors
    /// The errors of [`layer`](Self::layer).
    pub fn layer_as<F: Real>(&self, name: &str) -> Result<Imported<F>> {
        let imported = self.imported(name)?;
        match self.kind {
            Some(kind) if kind != imported.layer().kind() => {
                let expected = "the kind of the layer in the file";
                Err(Error::Config { argument: "kind", expected, got: kind.to_string() })
            }
            _ => Ok(imported),
        }
    }

    fn imported<F: Real>(&self, name: &str) -> Result<Imported<F>> {
        match &self.content {
            Content::Tensors(file) => {
                let prefix = file.recurrent_prefix(name);
                AnyLayer::from_tensor_file_as(file, prefix.as_deref().unwrap_or(name)).map(Imported::from)
            }
            #[cfg(feature = "onnx")]
            Content::Onnx { file, stacks } => match onnx::find(file, stacks, name) {
                Some(indices) => Imported::new(file.described(&indices)?),
                None => Err(self.not_found(name)),
            },
            #[cfg(feature = "keras")]
            Content::Keras(file) => match file.layers().iter().position(|layer| layer.name == name) {
                Some(index) => Imported::new(file.described(index, self.kind)?),
                None => Err(self.not_found(name)),
            },
        }
    }

    #[cfg(any(feature = "onnx", feature = "keras"))]
    fn not_found(&self, name: &str) -> Error {
        let found = self.layers().into_iter().map(|layer| layer.name).collect();
        Error::NotFound { what: "recurrent layer".to_owned(), name: name.to_owned(), found }
    }
}

/// Describes a layer of a bag of tensors.
fn bag_layer(info: &crate::weights::inventory::LayerInfo) -> SourceLayer {
    SourceLayer {
        name: info.prefix.clone(),
        kind: Some(info.kind),
        input_size: Some(info.input_size),
        hidden_size: Some(info.hidden_size),
        num_layers: info.num_layers,
        directions: if info.bidirectional { 2 } else { 1 },
        weights_only: true,
        notes: Vec::new(),
        text: format!("{}, {}", info.text, info.dtype),
    }
}

/// Writes the layers.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.layers().iter().map(ToString::to_string)).finish()
    }
}
