// The activations f, g and h of ONNX's recurrent operators, and its clipping: the general forms of the cells.
//
// Each direction has its own activations, as constants: the number of the function, and the bits of alpha and beta. The
// formulas are those of the CPU twin, src/activation.rs.
//
// Needs: `is_nan`, `safe_sigmoid`, `safe_tanh` from base/numeric.wgsl.

override F_0: u32;
override F_ALPHA_0: u32;
override F_BETA_0: u32;
override G_0: u32;
override G_ALPHA_0: u32;
override G_BETA_0: u32;
override H_0: u32;
override H_ALPHA_0: u32;
override H_BETA_0: u32;
override F_1: u32;
override F_ALPHA_1: u32;
override F_BETA_1: u32;
override G_1: u32;
override G_ALPHA_1: u32;
override G_BETA_1: u32;
override H_1: u32;
override H_ALPHA_1: u32;
override H_BETA_1: u32;
override CLIPS: bool;
override CLIP: u32; // the bits of the bound

// Returns a pre-activation within the bounds. NaN stays.
fn clipped(x: f32) -> f32 {
    let bound = bitcast<f32>(CLIP);
    return select(x, clamp(x, -bound, bound), CLIPS && !is_nan(x));
}

// Applies a function of any number. Comparisons are made such that NaN stays.
fn activation(number: u32, alpha: f32, beta: f32, x: f32) -> f32 {
    switch (number) {
        case 0u: { // Tanh
            return safe_tanh(x);
        }
        case 1u: { // Sigmoid
            return safe_sigmoid(x);
        }
        case 2u: { // Relu
            return select(x, 0.0, x < 0.0);
        }
        case 3u: { // Affine
            return alpha * x + beta;
        }
        case 4u: { // LeakyRelu
            return select(x, alpha * x, x < 0.0);
        }
        case 5u: { // ThresholdedRelu
            return select(x, 0.0, x < alpha);
        }
        case 6u: { // ScaledTanh
            return alpha * safe_tanh(beta * x);
        }
        case 7u: { // HardSigmoid
            let y = alpha * x + beta;
            return select(select(y, 1.0, y > 1.0), 0.0, y < 0.0);
        }
        case 8u: { // Elu
            return select(x, alpha * exp_minus_1(min(x, 0.0)), x < 0.0);
        }
        case 9u: { // Softsign
            return x / (1.0 + abs(x));
        }
        default: { // Softplus; with e^-|x| nothing overflows
            return select(max(x, 0.0) + log(1.0 + exp(-min(abs(x), 104.0))), x, is_nan(x));
        }
    }
}

// Returns e^x - 1 for x up to 0; near 0, where the difference cancels, by its series.
fn exp_minus_1(x: f32) -> f32 {
    let series = x * (1.0 + x * (0.5 + x * (1.0 / 6.0 + x * (1.0 / 24.0))));
    return select(exp(max(x, -104.0)) - 1.0, series, x > -0.03);
}

// The activation of gates that are sigmoid in PyTorch.
fn f_of(d: u32, x: f32) -> f32 {
    if (d == 0u) {
        return activation(F_0, bitcast<f32>(F_ALPHA_0), bitcast<f32>(F_BETA_0), clipped(x));
    }
    return activation(F_1, bitcast<f32>(F_ALPHA_1), bitcast<f32>(F_BETA_1), clipped(x));
}

// The activation of the new value.
fn g_of(d: u32, x: f32) -> f32 {
    if (d == 0u) {
        return activation(G_0, bitcast<f32>(G_ALPHA_0), bitcast<f32>(G_BETA_0), clipped(x));
    }
    return activation(G_1, bitcast<f32>(G_ALPHA_1), bitcast<f32>(G_BETA_1), clipped(x));
}

// The activation of the cell state, which is never clipped.
fn h_of(d: u32, x: f32) -> f32 {
    if (d == 0u) {
        return activation(H_0, bitcast<f32>(H_ALPHA_0), bitcast<f32>(H_BETA_0), x);
    }
    return activation(H_1, bitcast<f32>(H_ALPHA_1), bitcast<f32>(H_BETA_1), x);
}
