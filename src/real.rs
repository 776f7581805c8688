//! The number types of the crate: `f32` everywhere, `f64` on the CPU as the oracle.

use std::fmt::{Debug, Display};

mod sealed {
    /// `LinalgScalar` is required by the CPU's matrix product; it is not part of the public contract.
    pub trait Sealed: ndarray::LinalgScalar {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A real number type: `f32` or `f64`. Sealed, because only these have kernels.
pub trait Real: sealed::Sealed + bytemuck::Pod + Copy + PartialOrd + Debug + Display + Send + Sync + 'static {
    /// "f32" or "f64".
    const NAME: &'static str;
    /// Returns the nearest value of this type; beyond its range, infinity.
    fn from_f64(value: f64) -> Self;
    /// Returns the same value in f64, exactly.
    fn to_f64(self) -> f64;
    /// Returns the square root.
    fn sqrt(self) -> Self;
    /// Returns eˣ.
    fn exp(self) -> Self;
    /// Returns eˣ - 1, exactly near 0.
    fn exp_m1(self) -> Self;
    /// Returns ln(1 + x), exactly near 0.
    fn ln_1p(self) -> Self;
    /// Returns the hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Returns the logistic function 1 / (1 + e^-x), which is 0 and 1 far from zero.
    fn sigmoid(self) -> Self;
}

macro_rules! real {
    ($t:ident, $from:expr) => {
        impl Real for $t {
            const NAME: &'static str = stringify!($t);

            fn from_f64(value: f64) -> Self {
                $from(value)
            }

            fn to_f64(self) -> f64 {
                self.into()
            }

            fn sqrt(self) -> Self {
                $t::sqrt(self)
            }

            fn exp(self) -> Self {
                $t::exp(self)
            }

            fn exp_m1(self) -> Self {
                $t::exp_m1(self)
            }

            fn ln_1p(self) -> Self {
                $t::ln_1p(self)
            }

            fn tanh(self) -> Self {
                $t::tanh(self)
            }

            // With e^-|x| nothing overflows, and a nearly closed gate keeps its precision.
            fn sigmoid(self) -> Self {
                let e = (-self.abs()).exp();
                if self < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
            }
        }
    };
}

real!(f32, |value: f64| value as f32);
real!(f64, |value: f64| value);
