//! Canonical weights: PyTorch's tensors in PyTorch's gate order, whatever file they came from.
//!
//! Formats end here: a reader makes [`LayerWeights`], and nothing behind this module knows where they came from.

pub(crate) mod concat_gates;
pub(crate) mod init;
pub(crate) mod inventory;
pub(crate) mod names;
pub(crate) mod pytorch;
mod recorded;
pub(crate) mod tensor_file;
mod tensor_writer;
mod whole_file;

use std::borrow::Cow;
use std::fmt;

use half::f16;

use crate::config::RecurrentConfig;
use crate::error::{Error, Result};
use crate::precision::Precision;
use crate::real::Real;
use crate::tensor::Tensor;
use crate::weights::names::{Parameter, ParameterKind, check_shape};

/// The parameters of one layer and direction, by PyTorch's names, gates in PyTorch's order (LSTM i, f, g, o; GRU r, z,
/// n); G is 4 for an LSTM, 3 for a GRU, 1 for an RNN.
///
/// | tensor | shape |
/// |---|---|
/// | `weight_ih` | `[G·H, I]`; I of a layer above the first is D·P |
/// | `weight_hh` | `[G·H, P]`; P is H without a projection |
/// | `bias_ih`, `bias_hh` | `[G·H]`, both or neither |
/// | `weight_hr` | `[P, H]`, of an LSTM with a projection |
///
/// Shapes and values are checked when a model is made of them.
#[derive(Clone, PartialEq)]
pub struct LayerWeights<F = f32> {
    weight_ih: Tensor<F>,
    weight_hh: Tensor<F>,
    bias: Option<(Tensor<F>, Tensor<F>)>,
    weight_hr: Option<Tensor<F>>,
}

impl<F: Real> LayerWeights<F> {
    /// Weights without biases.
    pub fn new(weight_ih: Tensor<F>, weight_hh: Tensor<F>) -> Self {
        Self { weight_ih, weight_hh, bias: None, weight_hr: None }
    }

    /// The same with the two biases, which stay apart.
    #[must_use]
    pub fn with_bias(mut self, bias_ih: Tensor<F>, bias_hh: Tensor<F>) -> Self {
        self.bias = Some((bias_ih, bias_hh));
        self
    }

    /// The same with the weights that project h from H values to P: `[P, H]`, LSTM only.
    #[must_use]
    pub fn with_projection(mut self, weight_hr: Tensor<F>) -> Self {
        self.weight_hr = Some(weight_hr);
        self
    }

    /// `[G·H, I]`: the input's weights.
    pub fn weight_ih(&self) -> &Tensor<F> {
        &self.weight_ih
    }

    /// `[G·H, P]`: the hidden state's weights.
    pub fn weight_hh(&self) -> &Tensor<F> {
        &self.weight_hh
    }

    /// `[G·H]`: the bias of the input product.
    pub fn bias_ih(&self) -> Option<&Tensor<F>> {
        self.bias.as_ref().map(|(ih, _)| ih)
    }

    /// `[G·H]`: the bias of the recurrent product.
    pub fn bias_hh(&self) -> Option<&Tensor<F>> {
        self.bias.as_ref().map(|(_, hh)| hh)
    }

    /// `[P, H]`: the weights that project h.
    pub fn weight_hr(&self) -> Option<&Tensor<F>> {
        self.weight_hr.as_ref()
    }

    pub(crate) fn cast<G: Real>(&self) -> Result<LayerWeights<G>> {
        self.map(Tensor::cast, Tensor::cast)
    }

    /// The same with the two matrices that f16 is for rounded to it, in their own number type.
    fn rounded_to_f16(&self) -> Result<Self> {
        let same = |tensor: &Tensor<F>| tensor.as_view().to_tensor();
        let rounded = |tensor: &Tensor<F>| tensor.map(|v| F::from_f64(f16::from_f64(v.to_f64()).to_f64()));
        self.map(rounded, same)
    }

    /// Converts every tensor: the two matrices by `matrix`, biases and projection by `other`.
    fn map<G: Real>(
        &self,
        matrix: impl Fn(&Tensor<F>) -> Result<Tensor<G>>,
        other: impl Fn(&Tensor<F>) -> Result<Tensor<G>>,
    ) -> Result<LayerWeights<G>> {
        let bias = match &self.bias {
            Some((ih, hh)) => Some((other(ih)?, other(hh)?)),
            None => None,
        };
        Ok(LayerWeights {
            weight_ih: matrix(&self.weight_ih)?,
            weight_hh: matrix(&self.weight_hh)?,
            bias,
            weight_hr: self.weight_hr.as_ref().map(other).transpose()?,
        })
    }

    pub(crate) fn get(&self, kind: ParameterKind) -> Option<&Tensor<F>> {
        match kind {
            ParameterKind::WeightIh => Some(&self.weight_ih),
            ParameterKind::WeightHh => Some(&self.weight_hh),
            ParameterKind::BiasIh => self.bias_ih(),
            ParameterKind::BiasHh => self.bias_hh(),
            ParameterKind::WeightHr => self.weight_hr(),
        }
    }
}

/// The shapes of the tensors that there are; weights are not printed.
impl<F: Real> fmt::Debug for LayerWeights<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LayerWeights(weight_ih {:?}, weight_hh {:?}", self.weight_ih.shape(), self.weight_hh.shape())?;
        if let Some((bias_ih, bias_hh)) = &self.bias {
            write!(f, ", bias_ih {:?}, bias_hh {:?}", bias_ih.shape(), bias_hh.shape())?;
        }
        if let Some(weight_hr) = &self.weight_hr {
            write!(f, ", weight_hr {:?}", weight_hr.shape())?;
        }
        f.write_str(")")
    }
}

/// A model's weights as a device is to keep them: what f16 cannot hold is an error that calls it by `name`.
pub(crate) fn in_precision<'a, F: Real>(
    config: &RecurrentConfig,
    layers: &'a [LayerWeights<F>],
    precision: Precision,
    name: impl Fn(Parameter) -> String,
) -> Result<Cow<'a, [LayerWeights<F>]>> {
    match precision {
        Precision::F32 => Ok(Cow::Borrowed(layers)),
        Precision::F16 => {
            let rounded = layers.iter().map(LayerWeights::rounded_to_f16).collect::<Result<Vec<_>>>()?;
            validate(config, &rounded, name)?;
            Ok(Cow::Owned(rounded))
        }
    }
}

/// Checks number, shapes and values of a model's weights, which errors call by `name`.
pub(crate) fn validate<F: Real>(
    config: &RecurrentConfig,
    layers: &[LayerWeights<F>],
    name: impl Fn(Parameter) -> String,
) -> Result<()> {
    let expected = config.layers_and_directions();
    if layers.len() != expected {
        return Err(Error::Shape {
            what: "layers".to_owned(),
            expected: format!("[{expected}] (num_layers·directions entries, index layer·directions + direction)"),
            got: vec![layers.len()],
        });
    }
    for ((layer, direction), weights) in config.layer_directions().zip(layers) {
        for kind in ParameterKind::ALL {
            let name = || name(Parameter { kind, layer, direction });
            match (weights.get(kind), kind.is_in(config)) {
                (None, Err(_)) => {}
                (Some(_), Err(option)) => {
                    return Err(Error::UnexpectedTensor { name: name(), why: format!("the model has {option}") });
                }
                (None, Ok(())) => {
                    let option = if kind == ParameterKind::WeightHr { "proj_size > 0" } else { "bias=true" };
                    return Err(Error::MissingTensor { name: name(), why: format!("the model has {option}") });
                }
                (Some(tensor), Ok(())) => {
                    check_shape(&name(), &kind.shape(config, layer), tensor.shape())?;
                    check_finite(&name(), tensor)?;
                }
            }
        }
    }
    Ok(())
}

/// One NaN weight makes every output NaN without a trace of where it came from, so it is found here.
fn check_finite<F: Real>(name: &str, tensor: &Tensor<F>) -> Result<()> {
    let Some(flat) = tensor.data().iter().position(|v| !v.to_f64().is_finite()) else {
        return Ok(());
    };
    let mut index = vec![0; tensor.shape().len()];
    let mut rest = flat;
    for (i, &size) in index.iter_mut().zip(tensor.shape()).rev() {
        (*i, rest) = (rest % size, rest / size);
    }
    Err(Error::NonFinite { name: name.to_owned(), index, value: tensor.data()[flat].to_f64() })
}
