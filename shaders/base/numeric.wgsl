// Activations that are safe for any float.

// Tests the bits, because drivers may assume that floats are never NaN and fold `x != x` to false.
fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// tanh is 1 to within half an f32 ulp from 9.02 on; some drivers return NaN for arguments above 88. clamp() turns NaN
// into a bound on some drivers, so NaN bypasses it.
fn safe_tanh(x: f32) -> f32 {
    return select(tanh(clamp(x, -15.0, 15.0)), x, is_nan(x));
}

// With e^-|x| nothing overflows, and a closed gate is 0: exp(-104) is below the smallest f32.
fn safe_sigmoid(x: f32) -> f32 {
    let e = exp(-min(abs(x), 104.0));
    return select(select(e, 1.0, x >= 0.0) / (1.0 + e), x, is_nan(x));
}
