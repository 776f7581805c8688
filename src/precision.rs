//! The number format in which weights are stored.

use std::fmt;

/// The number format in which the matrices `weight_ih` and `weight_hh` are stored on a device. Sums, states, biases and
/// a projection are f32 either way.
///
/// With f16, every weight is rounded to the nearest value with eleven significant bits: its error is at most 2⁻¹¹ of
/// its size, or 2⁻²⁵ if it is below 2⁻¹⁴. The error of a pre-activation is then at most 2⁻¹¹·Σ|w·x|. The results are
/// exactly those of the layer with rounded weights, on the CPU as well. A recurrent step of few rows takes as long as
/// reading the weights, which are half as many bytes for an LSTM and two thirds for a GRU; an RNN saves none. On a GPU,
/// this requires no feature, but wgpu's downlevel flag `SHADER_F16_IN_F32`, which some OpenGL devices lack: there, the
/// first forward returns an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// Not rounded.
    #[default]
    F32,
    /// Rounded to f16.
    F16,
}

impl Precision {
    pub(crate) const ALL: [Self; 2] = [Self::F32, Self::F16];
}

/// Writes "f32" or "f16".
impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        })
    }
}
