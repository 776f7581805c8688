//! Canonical weights: PyTorch's tensors in PyTorch's gate order, whatever file they came from.
//!
//! File formats end here: a reader creates [`LayerWeights`], and no other module depends on where they came from.

pub(crate) mod concat_gates;
pub(crate) mod init;
pub(crate) mod inventory;
pub(crate) mod names;
pub(crate) mod pytorch;
mod recorded;
pub(crate) mod tensor_file;
pub(crate) mod tensor_writer;
pub(crate) mod whole_file;

use std::borrow::Cow;
use std::fmt;

use half::f16;

use crate::config::RecurrentConfig;
use crate::error::{Error, Result};
use crate::precision::Precision;
use crate::real::Real;
use crate::tensor::Tensor;
use crate::weights::names::{Parameter, ParameterKind, check_shape};

/// The parameters of one layer and direction, by PyTorch's names, with gates in PyTorch's order (LSTM i, f, g, o; GRU
/// r, z, n); G is 4 for an LSTM, 3 for a GRU, 1 for an RNN.
///
/// | tensor | shape |
/// |---|---|
/// | `weight_ih` | `[G·H, I]`; I of a layer above the first is D·P |
/// | `weight_hh` | `[G·H, P]`; P is H without a projection |
/// | `bias_ih`, `bias_hh` | `[G·H]`, both or neither |
/// | `weight_hr` | `[P, H]`, for an LSTM with a projection |
/// | `peephole` | `[3·H]`, of the gates i, f, o of an LSTM with peepholes, which PyTorch lacks |
///
/// Shapes and values are checked when a model is created from them.
#[derive(Clone, PartialEq)]
pub struct LayerWeights<F = f32> {
    weight_ih: Tensor<F>,
    weight_hh: Tensor<F>,
    bias: Option<(Tensor<F>, Tensor<F>)>,
    weight_hr: Option<Tensor<F>>,
    peephole: Option<Tensor<F>>,
}

impl<F: Real> LayerWeights<F> {
    /// Creates weights without biases.
    pub fn new(weight_ih: Tensor<F>, weight_hh: Tensor<F>) -> Self {
        Self { weight_ih, weight_hh, bias: None, weight_hr: None, peephole: None }
    }

    /// Adds the two biases, which stay separate.
    #[must_use]
    pub fn with_bias(mut self, bias_ih: Tensor<F>, bias_hh: Tensor<F>) -> Self {
        self.bias = Some((bias_ih, bias_hh));
        self
    }

    /// Adds the weights that project h from H values to P: `[P, H]`, LSTM only.
    #[must_use]
    pub fn with_projection(mut self, weight_hr: Tensor<F>) -> Self {
        self.weight_hr = Some(weight_hr);
        self
    }

    /// Adds the peepholes of an LSTM, which let its gates see its cell state: `[3·H]`, of the gates i, f and o.
    #[must_use]
    pub fn with_peephole(mut self, peephole: Tensor<F>) -> Self {
        self.peephole = Some(peephole);
        self
    }

    /// Returns the weights of the input product, `[G·H, I]`.
    pub fn weight_ih(&self) -> &Tensor<F> {
        &self.weight_ih
    }

    /// Returns the weights of the recurrent product, `[G·H, P]`.
    pub fn weight_hh(&self) -> &Tensor<F> {
        &self.weight_hh
    }

    /// Returns the bias of the input product, `[G·H]`.
    pub fn bias_ih(&self) -> Option<&Tensor<F>> {
        self.bias.as_ref().map(|(ih, _)| ih)
    }

    /// Returns the bias of the recurrent product, `[G·H]`.
    pub fn bias_hh(&self) -> Option<&Tensor<F>> {
        self.bias.as_ref().map(|(_, hh)| hh)
    }

    /// Returns the weights that project h, `[P, H]`.
    pub fn weight_hr(&self) -> Option<&Tensor<F>> {
        self.weight_hr.as_ref()
    }

    /// Returns the peepholes of an LSTM, `[3·H]`.
    pub fn peephole(&self) -> Option<&Tensor<F>> {
        self.peephole.as_ref()
    }

    pub(crate) fn weight_ih_mut(&mut self) -> &mut Tensor<F> {
        &mut self.weight_ih
    }

    pub(crate) fn weight_hh_mut(&mut self) -> &mut Tensor<F> {
        &mut self.weight_hh
    }

    pub(crate) fn bias_mut(&mut self) -> Option<(&mut Tensor<F>, &mut Tensor<F>)> {
        self.bias.as_mut().map(|(ih, hh)| (ih, hh))
    }

    pub(crate) fn weight_hr_mut(&mut self) -> Option<&mut Tensor<F>> {
        self.weight_hr.as_mut()
    }

    /// Returns weight_ih, weight_hh, bias_ih, bias_hh and weight_hr, to be written at the same time.
    pub(crate) fn each_mut(&mut self) -> [Option<&mut Tensor<F>>; 5] {
        let (bias_ih, bias_hh) = self.bias.as_mut().map(|(ih, hh)| (ih, hh)).unzip();
        [Some(&mut self.weight_ih), Some(&mut self.weight_hh), bias_ih, bias_hh, self.weight_hr.as_mut()]
    }

    /// Adds every parameter of weights of the same shapes.
    pub(crate) fn add(&mut self, other: &Self) {
        for kind in ParameterKind::ALL {
            let (Some(sum), Some(more)) = (self.get_mut(kind), other.get(kind)) else { continue };
            sum.data_mut().iter_mut().zip(more.data()).for_each(|(sum, &more)| *sum = *sum + more);
        }
    }

    /// Returns the tensors that there are.
    #[cfg(feature = "onnx")]
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Tensor<F>> {
        ParameterKind::ALL.into_iter().filter_map(|kind| self.get(kind))
    }

    pub(crate) fn get_mut(&mut self, kind: ParameterKind) -> Option<&mut Tensor<F>> {
        match kind {
            ParameterKind::WeightIh => Some(&mut self.weight_ih),
            ParameterKind::WeightHh => Some(&mut self.weight_hh),
            ParameterKind::BiasIh => self.bias.as_mut().map(|(ih, _)| ih),
            ParameterKind::BiasHh => self.bias.as_mut().map(|(_, hh)| hh),
            ParameterKind::WeightHr => self.weight_hr.as_mut(),
            ParameterKind::Peephole => self.peephole.as_mut(),
        }
    }

    pub(crate) fn cast<G: Real>(&self) -> Result<LayerWeights<G>> {
        self.map(Tensor::cast, Tensor::cast)
    }

    /// Rounds the two matrices that [`Precision::F16`] applies to, keeping their number type.
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
            weight_hr: self.weight_hr.as_ref().map(&other).transpose()?,
            peephole: self.peephole.as_ref().map(other).transpose()?,
        })
    }

    pub(crate) fn get(&self, kind: ParameterKind) -> Option<&Tensor<F>> {
        match kind {
            ParameterKind::WeightIh => Some(&self.weight_ih),
            ParameterKind::WeightHh => Some(&self.weight_hh),
            ParameterKind::BiasIh => self.bias_ih(),
            ParameterKind::BiasHh => self.bias_hh(),
            ParameterKind::WeightHr => self.weight_hr(),
            ParameterKind::Peephole => self.peephole(),
        }
    }
}

/// Writes the shapes of the existing tensors; weights are not printed.
impl<F: Real> fmt::Debug for LayerWeights<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LayerWeights(weight_ih {:?}, weight_hh {:?}", self.weight_ih.shape(), self.weight_hh.shape())?;
        if let Some((bias_ih, bias_hh)) = &self.bias {
            write!(f, ", bias_ih {:?}, bias_hh {:?}", bias_ih.shape(), bias_hh.shape())?;
        }
        if let Some(weight_hr) = &self.weight_hr {
            write!(f, ", weight_hr {:?}", weight_hr.shape())?;
        }
        if let Some(peephole) = &self.peephole {
            write!(f, ", peephole {:?}", peephole.shape())?;
        }
        f.write_str(")")
    }
}

/// Returns a model's weights as a device will store them. Values that f16 cannot represent are an error with the
/// tensor's `name`.
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

/// Checks number, shapes and values of a model's weights. Errors use `name` for the tensors.
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
                    let option = match kind {
                        ParameterKind::WeightHr => "proj_size > 0",
                        ParameterKind::Peephole => "peepholes=true",
                        _ => "bias=true",
                    };
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

/// Checks that a tensor is finite. A single NaN weight makes every output NaN without a trace of its origin, so it is
/// rejected here.
pub(crate) fn check_finite<F: Real>(name: &str, tensor: &Tensor<F>) -> Result<()> {
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
