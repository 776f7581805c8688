// Needs: `is_nan` from base/numeric.wgsl.

// max(0, x). NaN bypasses it: drivers turn such a select into a maximum, which swallows NaN on some.
fn nonlinearity(x: f32) -> f32 {
    return select(max(x, 0.0), x, is_nan(x));
}
