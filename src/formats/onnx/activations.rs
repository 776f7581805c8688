//! ONNX's activation functions: names, and the alpha and beta that belong to them.

use crate::activation::Activation;

impl Activation {
    /// Returns the activation of a name, in any case of letters. Alpha and beta are asked for where it has them, and
    /// are ONNX's default where there is none. What is wrong is a text.
    pub(crate) fn resolve(
        name: &str,
        alpha: impl FnOnce() -> Option<f32>,
        beta: impl FnOnce() -> Option<f32>,
    ) -> Result<Self, String> {
        let missing = |parameter: &str| format!("activation {name} has no activation_{parameter}, and no default");
        Ok(match name.to_ascii_lowercase().as_str() {
            "tanh" => Self::Tanh,
            "sigmoid" => Self::Sigmoid,
            "relu" => Self::Relu,
            "softsign" => Self::Softsign,
            "softplus" => Self::Softplus,
            "leakyrelu" => Self::LeakyRelu { alpha: alpha().unwrap_or(0.01) },
            "elu" => Self::Elu { alpha: alpha().unwrap_or(1.0) },
            "hardsigmoid" => Self::HardSigmoid { alpha: alpha().unwrap_or(0.2), beta: beta().unwrap_or(0.5) },
            "thresholdedrelu" => Self::ThresholdedRelu { alpha: alpha().ok_or_else(|| missing("alpha"))? },
            "affine" => Self::Affine {
                alpha: alpha().ok_or_else(|| missing("alpha"))?,
                beta: beta().ok_or_else(|| missing("beta"))?,
            },
            "scaledtanh" => Self::ScaledTanh {
                alpha: alpha().ok_or_else(|| missing("alpha"))?,
                beta: beta().ok_or_else(|| missing("beta"))?,
            },
            _ => return Err(format!("{name:?} is not one of ONNX's activations")),
        })
    }
}

/// Returns the activations of an operator: `defaults` once for every direction if no names are given.
///
/// Values of `alphas` and `betas` are taken in order, by those activations that have such a parameter. This is ONNX's
/// text and what ONNX Runtime does for LSTM, GRU and RNN alike; the remaining ones get the default.
pub(crate) fn activations(
    defaults: &[&str],
    directions: usize,
    names: &[String],
    alphas: &[f32],
    betas: &[f32],
) -> Result<Vec<Activation>, String> {
    let wanted = defaults.len() * directions;
    let default: Vec<_> = defaults.iter().map(|&name| name.to_owned()).cycle().take(wanted).collect();
    let names = match names.len() {
        0 => default.as_slice(),
        n if n == wanted => names,
        // RNN's default is written as ["Tanh", "Tanh"] whatever the direction; ONNX Runtime takes the first of two.
        2 if wanted == 1 => names.get(..1).unwrap_or_default(),
        n => return Err(format!("it has {n} activations instead of {wanted}")),
    };
    let (mut alphas, mut betas) = (alphas.iter().copied(), betas.iter().copied());
    names.iter().map(|name| Activation::resolve(name, || alphas.next(), || betas.next())).collect()
}
