fn nonlinearity(x: f32) -> f32 {
    return safe_tanh(x);
}
