// Needs: `tanh_slope` from base/slopes.wgsl.

fn through_nonlinearity(h: f32, dh: f32) -> f32 {
    return dh * tanh_slope(h);
}
