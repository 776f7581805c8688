//! The number types of the crate: `f32` everywhere, `f64` on the CPU as the oracle.

use std::fmt::{Debug, Display};

mod sealed {
    /// `LinalgScalar` is what the CPU's matrix product asks of its numbers; it is no part of the public contract.
    pub trait Sealed: ndarray::LinalgScalar {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A real number type: `f32` or `f64`. Sealed: the kernels exist for these two.
pub trait Real: sealed::Sealed + bytemuck::Pod + Copy + PartialOrd + Debug + Display + Send + Sync + 'static {
    /// "f32" or "f64".
    const NAME: &'static str;
    /// The nearest value of this type; beyond its range, infinity.
    fn from_f64(value: f64) -> Self;
    /// The same value in f64, exactly.
    fn to_f64(self) -> f64;
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The logistic function 1 / (1 + e^-x), 0 and 1 far out.
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

            fn tanh(self) -> Self {
                $t::tanh(self)
            }

            // With e^-|x| nothing overflows, and a nearly closed gate keeps its digits.
            fn sigmoid(self) -> Self {
                let e = (-self.abs()).exp();
                if self < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
            }
        }
    };
}

real!(f32, |value: f64| value as f32);
real!(f64, |value: f64| value);
