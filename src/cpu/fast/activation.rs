//! The logistic function and tanh over vectors. Both are computed from exp of a non-positive argument, so that nothing
//! overflows. The largest errors over all f32, as measured by the test below: 2.64 ulp for the logistic function, 1.51
//! ulp for tanh.

use pulp::Simd;

/// Returns e^x for x <= 0, down to the smallest subnormal; smaller results are 0. The result for NaN is unspecified.
///
/// x = n·ln 2 + r with |r| <= ln 2 / 2, and e^x = 2^n·e^r; the polynomial for e^r is from Cephes (S. Moshier, `expf`).
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "as published")]
fn exp_not_positive<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let number = |value: f32| simd.splat_f32s(value);
    let x = simd.max_f32s(x, number(-104.0));
    // Adding 1.5·2^23 rounds to an integer, as it leaves no room for a fraction; the low bits are the integer.
    let round = number(12_582_912.0);
    let shifted = simd.mul_add_e_f32s(x, number(std::f32::consts::LOG2_E), round);
    let n = simd.sub_f32s(shifted, round);
    let r = simd.mul_add_e_f32s(n, number(-0.693_359_375), x);
    let r = simd.mul_add_e_f32s(n, number(2.121_944_40e-4), r);
    let mut p = number(1.987_569_150_0e-4);
    for coefficient in
        [1.398_199_950_7e-3, 8.333_451_907_3e-3, 4.166_579_589_4e-2, 1.666_666_545_9e-1, 5.000_000_120_1e-1]
    {
        p = simd.mul_add_e_f32s(p, r, number(coefficient));
    }
    let p = simd.mul_add_e_f32s(p, simd.mul_f32s(r, r), simd.add_f32s(r, number(1.0)));
    // 2^n may be below the smallest normal number, so it is split into two factors, each of which is normal.
    let half = simd.mul_add_e_f32s(n, number(0.5), round);
    let rest = simd.add_f32s(simd.sub_f32s(n, simd.sub_f32s(half, round)), round);
    simd.mul_f32s(simd.mul_f32s(p, power_of_two(simd, half)), power_of_two(simd, rest))
}

/// Returns 2^n for the integer n in the low bits of a number that was rounded as above.
#[inline(always)]
fn power_of_two<S: Simd>(simd: S, rounded: S::f32s) -> S::f32s {
    let biased = simd.add_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(127));
    simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(biased, simd.splat_u32s(23)))
}

/// Returns 1 / (1 + e^-x).
#[inline(always)]
pub(super) fn sigmoid<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
    let e = exp_not_positive(simd, simd.neg_f32s(simd.abs_f32s(x)));
    let above = simd.select_f32s(simd.less_than_f32s(x, zero), e, one);
    keep_nan(simd, x, simd.div_f32s(above, simd.add_f32s(one, e)))
}

/// Returns tanh(x): a polynomial near 0 (Cephes, `tanhf`), where a quotient would cancel, otherwise (1 - e^-2|x|) / (1
/// + e^-2|x|).
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "as published")]
pub(super) fn tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let number = |value: f32| simd.splat_f32s(value);
    let size = simd.abs_f32s(x);
    let e = exp_not_positive(simd, simd.mul_f32s(size, number(-2.0)));
    let far = simd.div_f32s(simd.sub_f32s(number(1.0), e), simd.add_f32s(number(1.0), e));
    let square = simd.mul_f32s(x, x);
    let mut p = number(-5.704_988_727_45e-3);
    for coefficient in [2.063_908_879_54e-2, -5.373_971_555_31e-2, 1.333_144_220_36e-1, -3.333_328_194_22e-1] {
        p = simd.mul_add_e_f32s(p, square, number(coefficient));
    }
    let near = simd.mul_add_e_f32s(simd.mul_f32s(p, square), x, x);
    let negative = simd.less_than_f32s(x, number(0.0));
    let far = simd.select_f32s(negative, simd.neg_f32s(far), far);
    keep_nan(simd, x, simd.select_f32s(simd.less_than_f32s(size, number(0.625)), near, far))
}

/// Returns x if x is NaN, otherwise `value`.
#[inline(always)]
fn keep_nan<S: Simd>(simd: S, x: S::f32s, value: S::f32s) -> S::f32s {
    simd.select_f32s(simd.equal_f32s(x, x), value, x)
}

/// Returns max(0, x); NaN stays NaN.
#[inline(always)]
pub(super) fn relu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let zero = simd.splat_f32s(0.0);
    simd.select_f32s(simd.less_than_f32s(x, zero), zero, x)
}

#[cfg(test)]
mod tests {
    use pulp::{Arch, WithSimd};

    use super::super::tests::archs;
    use super::*;

    const SIGMOID_ULP: f64 = 2.7;
    const TANH_ULP: f64 = 1.6;

    struct Both<'a> {
        x: &'a [f32],
        sigmoid: &'a mut [f32],
        tanh: &'a mut [f32],
    }

    impl WithSimd for Both<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let (x, rest) = S::as_simd_f32s(self.x);
            assert!(rest.is_empty());
            let (s, t) = (S::as_mut_simd_f32s(self.sigmoid).0, S::as_mut_simd_f32s(self.tanh).0);
            for ((&x, s), t) in x.iter().zip(s).zip(t) {
                *s = sigmoid(simd, x);
                *t = tanh(simd, x);
            }
        }
    }

    /// Returns the distance from the exact value in units in the last place of f32, subnormals included.
    fn ulps(got: f32, exact: f64) -> f64 {
        let nearest = (exact as f32).abs().max(f32::MIN_POSITIVE);
        let ulp = f64::from(f32::from_bits(nearest.to_bits() + 1) - nearest);
        (f64::from(got) - exact).abs() / ulp
    }

    fn check(arch: Arch, bits: impl Iterator<Item = u32>) -> (f64, f64) {
        let mut x: Vec<f32> = bits.map(f32::from_bits).collect();
        x.resize(x.len().next_multiple_of(64), 0.0);
        let mut both = [vec![0.0; x.len()], vec![0.0; x.len()]];
        let [sigmoid, tanh] = &mut both;
        arch.dispatch(Both { x: &x, sigmoid, tanh });
        let mut worst = (0.0_f64, 0.0_f64);
        for ((&x, &s), &t) in x.iter().zip(&both[0]).zip(&both[1]) {
            if x.is_nan() {
                assert!(s.is_nan() && t.is_nan(), "{x}");
                continue;
            }
            let exact = f64::from(x);
            let e = (-exact.abs()).exp();
            worst.0 = worst.0.max(ulps(s, if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }));
            worst.1 = worst.1.max(ulps(t, exact.tanh()));
        }
        worst
    }

    /// Checks every 4,099th of all f32, and the ends of the ranges. `all_floats` checks every f32.
    #[test]
    fn activations_are_as_exact_as_stated() {
        let edges = [0.0_f32, 0.625, 9.1, 87.3, 88.8, 103.9, 104.1, f32::MAX, f32::INFINITY, f32::NAN];
        let around = edges.map(|edge| edge.to_bits()).into_iter().flat_map(|bits| bits.saturating_sub(8)..bits + 8);
        let both_signs = around.flat_map(|bits| [bits, bits | 1 << 31]);
        let some: Vec<u32> = (0..=u32::MAX).step_by(4099).take(1 << 20).chain(both_signs).collect();
        for arch in archs() {
            let (sigmoid, tanh) = check(arch, some.iter().copied());
            assert!(sigmoid <= SIGMOID_ULP && tanh <= TANH_ULP, "{arch:?}: sigmoid {sigmoid}, tanh {tanh}");
        }
    }

    /// Run with: cargo test --release activation -- --ignored
    #[test]
    #[ignore = "takes two minutes per instruction set in a release build"]
    fn all_floats() {
        for arch in archs() {
            let (mut sigmoid, mut tanh) = (0.0_f64, 0.0_f64);
            for block in 0..4096_u32 {
                let (s, t) = check(arch, (0..1 << 20).map(|i| (block << 20) + i));
                (sigmoid, tanh) = (sigmoid.max(s), tanh.max(t));
            }
            println!("{arch:?}: largest errors in ulp: sigmoid {sigmoid:.3}, tanh {tanh:.3}");
            assert!(sigmoid <= SIGMOID_ULP && tanh <= TANH_ULP);
        }
    }
}
