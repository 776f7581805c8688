// A NaN is not below 0 and stays, as in PyTorch.
fn nonlinearity(x: f32) -> f32 {
    return select(x, 0.0, x < 0.0);
}
