//! The composed kernels, for people and tools that read them.

use std::collections::HashSet;

use crate::gpu::shader::entry_point;
use crate::plan::kernel::{Kernel, PipelineKey};
use crate::plan::shipped::shipped;

/// A kernel as it is compiled: WGSL, its entry point, and the values of its override constants.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shader {
    /// Kernel, cell, precision of the weights, "general" for a cell with options of ONNX, and constants, such as
    /// `step_one_row-lstm-f16-units8-split32`, or the kernel of an optimiser alone; suitable as a file name.
    pub name: String,
    /// The complete module.
    pub source: String,
    /// The name of the compute entry point.
    pub entry_point: &'static str,
    /// The override constants in the order of their declarations; booleans are 0 and 1.
    pub constants: Vec<(&'static str, u32)>,
}

/// Returns every kernel that a model may run on some GPU, whatever its cell, shape, precision and strategy.
///
/// They allow checking how a shader compiler translates this crate: the example `bench` writes them to files with
/// `--shaders`.
///
/// ```
/// let shaders = wgpu_rnn::shaders();
/// assert!(shaders.iter().any(|shader| shader.entry_point == "sequence"));
/// ```
pub fn shaders() -> Vec<Shader> {
    let mut seen = HashSet::new();
    // Cells with the same gates share the input product, and the projection of h does not depend on the weights'
    // precision.
    let shaders = shipped().into_iter().map(|key| Shader::new(&key));
    shaders.filter(|shader| seen.insert((shader.source.clone(), shader.constants.clone()))).collect()
}

impl Shader {
    fn new(PipelineKey { sources, constants }: &PipelineKey) -> Self {
        let precision = format!("{:?}", sources.precision).to_lowercase();
        let [kernel, cell] = [format!("{:?}", sources.kernel), format!("{:?}", sources.cell)];
        let mut parts = vec![snake_case(&kernel)];
        if !matches!(sources.kernel, Kernel::Optim(_)) {
            parts.extend([snake_case(&cell), precision]);
        }
        if sources.general {
            parts.push("general".to_owned());
        }
        if sources.product > 0 {
            parts.push(format!("product{}", sources.product));
        }
        // The constants of a general cell begin with the options of ONNX, which are too many for a name.
        let of_kernel = constants.iter().skip_while(|(name, _)| sources.general && *name != "HANDS_ON");
        // A flag that is off is left out.
        let said = of_kernel.filter(|(name, value)| *value > 0 || !FLAGS.contains(name));
        parts.extend(said.map(|(name, value)| match FLAGS.contains(name) {
            true => name.to_lowercase(),
            false => format!("{}{value}", name.to_lowercase()),
        }));
        if sources.wavefront {
            parts.push("wavefront".to_owned());
        }
        Self {
            name: parts.join("-"),
            source: sources.compose(),
            entry_point: entry_point(sources.kernel),
            constants: constants.clone(),
        }
    }
}

/// The constants that are booleans.
const FLAGS: [&str; 3] = ["DROPOUT", "HANDS_ON", "HELD"];

/// Returns the name of a variant, such as `rnn_tanh` for `Rnn(Tanh)`.
fn snake_case(variant: &str) -> String {
    let mut name = String::new();
    for c in variant.chars().filter(|c| c.is_alphanumeric()) {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(c.to_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_distinguish_shaders() {
        let shaders = shaders();
        let names: HashSet<_> = shaders.iter().map(|shader| &shader.name).collect();
        assert_eq!(names.len(), shaders.len());
        for name in ["step_one_row-lstm-f16-units8-split32", "step_many_rows-gru-f32-units8-row_tiles4-wavefront"] {
            assert!(shaders.iter().any(|shader| shader.name == name), "{name}");
        }
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))));
    }
}
