//! The activations of recurrent layers, and the ways in which Keras writes them down.

use serde_json::Value;

use crate::activation::Activation;

impl Activation {
    pub(crate) const LINEAR: Self = Self::Affine { alpha: 1.0, beta: 0.0 };

    /// Reads an activation of a layer's config: a name, a serialized object or null, as Keras's major version `major`
    /// understands it. Returns the name of one that has no place here as the error.
    pub(crate) fn from_config(config: &Value, major: u32) -> Result<Self, String> {
        match config {
            Value::Null => Ok(Self::LINEAR),
            Value::String(name) => Self::from_name(name, major),
            Value::Object(object) => {
                let class = object.get("class_name").and_then(Value::as_str).unwrap_or("an unnamed activation");
                let module = object.get("module").and_then(Value::as_str);
                let inner = object.get("config").unwrap_or(&Value::Null);
                match (class, inner) {
                    // A function: a module other than Keras's means somebody's own one, whatever its name.
                    ("function", Value::String(name)) if module.is_some_and(|module| !module.starts_with("keras")) => {
                        Err(name.clone())
                    }
                    ("function", Value::String(name)) => Self::from_name(name, major),
                    ("Activation", inner) => Self::from_config(inner.get("activation").unwrap_or(&Value::Null), major),
                    _ if module.is_some_and(|module| !module.starts_with("keras")) => Err(class.to_owned()),
                    _ => Self::from_layer(class, inner),
                }
            }
            _ => Err("an unreadable activation".to_owned()),
        }
    }

    fn from_name(name: &str, major: u32) -> Result<Self, String> {
        Ok(match name {
            "tanh" => Self::Tanh,
            "sigmoid" => Self::Sigmoid,
            "relu" => Self::Relu,
            "linear" => Self::LINEAR,
            // Before Keras 3: 0.2·x + 0.5; since then x/6 + 0.5.
            "hard_sigmoid" if major >= 3 => Self::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 },
            "hard_sigmoid" => Self::HardSigmoid { alpha: 0.2, beta: 0.5 },
            // The function has 0.2 in TensorFlow's Keras 2 as in Keras 3; only the layer LeakyReLU has 0.3.
            "leaky_relu" => Self::LeakyRelu { alpha: 0.2 },
            "elu" => Self::Elu { alpha: 1.0 },
            "softsign" => Self::Softsign,
            "softplus" => Self::Softplus,
            _ => return Err(name.to_owned()),
        })
    }

    /// Reads a layer that is used as an activation.
    fn from_layer(class: &str, config: &Value) -> Result<Self, String> {
        let number = |key: &str| number(config.get(key));
        let alpha = |keys: [&str; 2], default| keys.into_iter().find_map(number).unwrap_or(default);
        match class {
            "LeakyReLU" => Ok(Self::LeakyRelu { alpha: alpha(["negative_slope", "alpha"], 0.3) }),
            "ELU" => Ok(Self::Elu { alpha: alpha(["alpha", "alpha"], 1.0) }),
            "ThresholdedReLU" => Ok(Self::ThresholdedRelu { alpha: alpha(["theta", "theta"], 1.0) }),
            "ReLU" => {
                let limited = config.get("max_value").is_some_and(|limit| !limit.is_null());
                let threshold = number("threshold").unwrap_or(0.0);
                let slope = number("negative_slope").unwrap_or(0.0);
                match (limited, threshold == 0.0, slope == 0.0) {
                    (false, true, true) => Ok(Self::Relu),
                    (false, true, false) => Ok(Self::LeakyRelu { alpha: slope }),
                    (false, false, true) => Ok(Self::ThresholdedRelu { alpha: threshold }),
                    _ => Err("ReLU with max_value, or with both threshold and negative_slope".to_owned()),
                }
            }
            _ => Err(class.to_owned()),
        }
    }
}

/// Returns a number that may be wrapped as NumPy's scalars were in old files: `{"type": "ndarray", "value": 0.3}`, or
/// `{"class_name": "__numpy__", "config": {"value": 0.3}}`.
fn number(value: Option<&Value>) -> Option<f32> {
    let value = value?;
    let wrapped = || value.get("value").or_else(|| value.get("config")?.get("value"))?.as_f64();
    Some(value.as_f64().or_else(wrapped)? as f32)
}
