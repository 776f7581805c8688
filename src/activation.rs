//! The functions that ONNX's recurrent operators may apply to gates and cell states.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::real::Real;

/// A function that a layer applies to a gate or to its cell state, by ONNX's names and with ONNX's formulas (operators
/// LSTM, GRU and RNN, "activations").
///
/// PyTorch's layers use [`Sigmoid`](Self::Sigmoid) and [`Tanh`](Self::Tanh), and its RNN [`Relu`](Self::Relu) on
/// request; [`Config::with_activations`](crate::Config::with_activations) selects others.
///
/// Displays as ONNX's name with its parameters, such as `HardSigmoid(0.2, 0.5)`, which parses back.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Activation {
    /// The hyperbolic tangent.
    Tanh,
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// max(0, x)
    Relu,
    /// alpha · x + beta
    Affine {
        /// The slope.
        alpha: f32,
        /// The value at 0.
        beta: f32,
    },
    /// x if x ≥ 0, otherwise alpha · x
    LeakyRelu {
        /// The slope below 0.
        alpha: f32,
    },
    /// x if x ≥ alpha, otherwise 0
    ThresholdedRelu {
        /// The threshold.
        alpha: f32,
    },
    /// alpha · tanh(beta · x)
    ScaledTanh {
        /// The largest value.
        alpha: f32,
        /// The factor of x.
        beta: f32,
    },
    /// alpha · x + beta, at least 0 and at most 1
    HardSigmoid {
        /// The slope.
        alpha: f32,
        /// The value at 0.
        beta: f32,
    },
    /// x if x ≥ 0, otherwise alpha · (eˣ - 1)
    Elu {
        /// Minus the value far below 0.
        alpha: f32,
    },
    /// x / (1 + |x|)
    Softsign,
    /// ln(1 + eˣ)
    Softplus,
}

impl Activation {
    /// Returns the function's value. NaN stays NaN.
    pub(crate) fn apply<F: Real>(self, x: F) -> F {
        let (zero, one) = (F::zero(), F::one());
        let of = |parameter: f32| F::from_f64(parameter.into());
        match self {
            Self::Tanh => x.tanh(),
            Self::Sigmoid => x.sigmoid(),
            Self::Relu if x < zero => zero,
            Self::Affine { alpha, beta } => of(alpha) * x + of(beta),
            Self::LeakyRelu { alpha } if x < zero => of(alpha) * x,
            Self::ThresholdedRelu { alpha } if x < of(alpha) => zero,
            Self::ScaledTanh { alpha, beta } => of(alpha) * (of(beta) * x).tanh(),
            Self::HardSigmoid { alpha, beta } => match of(alpha) * x + of(beta) {
                y if y < zero => zero,
                y if y > one => one,
                y => y,
            },
            Self::Elu { alpha } if x < zero => of(alpha) * x.exp_m1(),
            Self::Softsign => x / (one + if x < zero { zero - x } else { x }),
            // With e^-|x| nothing overflows.
            Self::Softplus if x < zero => x.exp().ln_1p(),
            Self::Softplus => x + (zero - x).exp().ln_1p(),
            Self::Relu | Self::LeakyRelu { .. } | Self::ThresholdedRelu { .. } | Self::Elu { .. } => x,
        }
    }

    /// Returns ONNX's name, and its parameters alpha and beta, as far as the function has them.
    pub(crate) const fn parts(self) -> (&'static str, [Option<f32>; 2]) {
        match self {
            Self::Tanh => ("Tanh", [None, None]),
            Self::Sigmoid => ("Sigmoid", [None, None]),
            Self::Relu => ("Relu", [None, None]),
            Self::Affine { alpha, beta } => ("Affine", [Some(alpha), Some(beta)]),
            Self::LeakyRelu { alpha } => ("LeakyRelu", [Some(alpha), None]),
            Self::ThresholdedRelu { alpha } => ("ThresholdedRelu", [Some(alpha), None]),
            Self::ScaledTanh { alpha, beta } => ("ScaledTanh", [Some(alpha), Some(beta)]),
            Self::HardSigmoid { alpha, beta } => ("HardSigmoid", [Some(alpha), Some(beta)]),
            Self::Elu { alpha } => ("Elu", [Some(alpha), None]),
            Self::Softsign => ("Softsign", [None, None]),
            Self::Softplus => ("Softplus", [None, None]),
        }
    }

    /// Returns the number by which shaders/cell/activations.wgsl knows the function, and the bits of alpha and beta.
    pub(crate) fn code(self) -> [u32; 3] {
        let number = match self {
            Self::Tanh => 0,
            Self::Sigmoid => 1,
            Self::Relu => 2,
            Self::Affine { .. } => 3,
            Self::LeakyRelu { .. } => 4,
            Self::ThresholdedRelu { .. } => 5,
            Self::ScaledTanh { .. } => 6,
            Self::HardSigmoid { .. } => 7,
            Self::Elu { .. } => 8,
            Self::Softsign => 9,
            Self::Softplus => 10,
        };
        let (_, [alpha, beta]) = self.parts();
        let bits = |parameter: Option<f32>| parameter.map_or(0, f32::to_bits);
        [number, bits(alpha), bits(beta)]
    }

    /// Returns true if alpha and beta are finite.
    pub(crate) fn is_finite(self) -> bool {
        self.parts().1.into_iter().flatten().all(f32::is_finite)
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            (name, [Some(alpha), Some(beta)]) => write!(f, "{name}({alpha}, {beta})"),
            (name, [Some(alpha), None]) => write!(f, "{name}({alpha})"),
            (name, _) => f.write_str(name),
        }
    }
}

impl FromStr for Activation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let expected = "ONNX's name of an activation with its parameters, such as Tanh or HardSigmoid(0.2, 0.5)";
        let error = || Error::Config { argument: "activations", expected, got: format!("{text:?}") };
        let (name, parameters) = match text.split_once('(') {
            Some((name, rest)) => (name, rest.strip_suffix(')').ok_or_else(error)?),
            None => (text, ""),
        };
        let parameters = parameters.split(',').map(str::trim).filter(|part| !part.is_empty());
        let parameters: Vec<f32> = parameters.map(str::parse).collect::<Result<_, _>>().map_err(|_| error())?;
        Ok(match (name.trim(), parameters.as_slice()) {
            ("Tanh", []) => Self::Tanh,
            ("Sigmoid", []) => Self::Sigmoid,
            ("Relu", []) => Self::Relu,
            ("Affine", &[alpha, beta]) => Self::Affine { alpha, beta },
            ("LeakyRelu", &[alpha]) => Self::LeakyRelu { alpha },
            ("ThresholdedRelu", &[alpha]) => Self::ThresholdedRelu { alpha },
            ("ScaledTanh", &[alpha, beta]) => Self::ScaledTanh { alpha, beta },
            ("HardSigmoid", &[alpha, beta]) => Self::HardSigmoid { alpha, beta },
            ("Elu", &[alpha]) => Self::Elu { alpha },
            ("Softsign", []) => Self::Softsign,
            ("Softplus", []) => Self::Softplus,
            _ => return Err(error()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Activation; 11] = [
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Relu,
        Activation::Affine { alpha: 0.5, beta: -0.1 },
        Activation::LeakyRelu { alpha: 0.01 },
        Activation::ThresholdedRelu { alpha: 0.25 },
        Activation::ScaledTanh { alpha: 1.5, beta: 0.6 },
        Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Activation::Elu { alpha: 1.2 },
        Activation::Softsign,
        Activation::Softplus,
    ];

    #[test]
    fn texts_are_read_back_as_written() {
        for activation in ALL {
            assert_eq!(activation.to_string().parse::<Activation>().unwrap(), activation);
        }
        for other in ["", "tanh", "Tanh(1)", "Elu", "Elu(1", "Elu(x)", "Affine(1)", "Gelu"] {
            assert!(other.parse::<Activation>().is_err(), "{other}");
        }
    }

    /// At points where the formulas are easily computed by hand.
    #[test]
    fn values_are_those_of_the_formulas() {
        let at = |x: f64| ALL.map(|activation| activation.apply(x));
        let e = std::f64::consts::E;
        let expected = [
            1.0_f64.tanh(),
            1.0 / (1.0 + 1.0 / e),
            1.0,
            0.5 - f64::from(0.1_f32),
            1.0,
            1.0,
            1.5 * f64::from(0.6_f32).tanh(),
            f64::from(0.2_f32) + 0.5,
            1.0,
            0.5,
            (1.0 + e).ln(),
        ];
        for (got, expected) in at(1.0).into_iter().zip(expected) {
            assert!((got - expected).abs() < 1e-15, "{got} {expected}");
        }
        let below = at(-4.0);
        assert_eq!([below[2], below[5], below[7], below[9]], [0.0, 0.0, 0.0, -0.8]);
        assert!((below[8] - f64::from(1.2_f32) * ((-4.0_f64).exp() - 1.0)).abs() < 1e-15);
        assert_eq!(at(800.0)[10], 800.0);
        assert_eq!(at(-800.0)[10], 0.0);
        assert!(at(f64::NAN).into_iter().all(f64::is_nan));
    }
}
