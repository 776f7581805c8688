// Needs: `safe_tanh` from base/numeric.wgsl.

fn nonlinearity(x: f32) -> f32 {
    return safe_tanh(x);
}
