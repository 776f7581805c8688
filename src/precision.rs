//! In which numbers weights are kept.

use std::fmt;

/// In which numbers the matrices `weight_ih` and `weight_hh` are kept on a device. Sums, states, biases and a projection are f32
/// either way.
///
/// With f16 every weight is rounded to the nearest of eleven significant bits: it is off by 2⁻¹¹ of itself at most, and by 2⁻²⁵
/// below 2⁻¹⁴. A pre-activation is then off by 2⁻¹¹·Σ|w·x| at most. What is computed is exactly the layer of the rounded
/// weights, on the CPU as well. A recurrent step of few rows takes the time that reading the weights takes, which is half as
/// many bytes for an LSTM and two thirds for a GRU; an RNN saves none. On a GPU this needs no feature, but wgpu's downlevel flag
/// `SHADER_F16_IN_F32`, which some OpenGL devices lack: there the first forward is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Rounded to f16.
    F16,
}

impl Precision {
    pub(crate) const ALL: [Self; 2] = [Self::F32, Self::F16];
}

/// "f32" or "f16".
impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        })
    }
}
