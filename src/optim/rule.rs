//! The rules by which optimisers change parameters: those of `torch.optim`, with its names and defaults.

use pulp::Arch;

use crate::error::{Error, Result};
use crate::memory::{copied, zeroed};
use crate::optim::moments::Moments;
use crate::plan::optim::kernel::OptimKernel;
use crate::plan::optim::params::SlotParams;
use crate::real::Real;

/// A rule for [`Optimizer`](crate::Optimizer): [`Sgd`], [`Adam`] or [`AdamW`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Rule {
    /// Gradient descent, with momentum if wanted.
    Sgd(Sgd),
    /// Adam, whose weight decay is part of the gradient.
    Adam(Adam),
    /// Adam with weight decay beside the gradient.
    AdamW(AdamW),
}

/// `torch.optim.SGD`: gradient descent, by default without momentum.
///
/// ```text
/// g += weight_decay · p
/// b = momentum · b + (1 - dampening) · g, which starts with g
/// p -= lr · (g + momentum · b) with nesterov, else lr · b
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sgd {
    momentum: f64,
    dampening: f64,
    weight_decay: f64,
    nesterov: bool,
}

/// `torch.optim.Adam` (Kingma and Ba 2014), t counting the steps of a parameter from 1:
///
/// ```text
/// g += weight_decay · p
/// m = beta1 · m + (1 - beta1) · g        v = beta2 · v + (1 - beta2) · g²
/// p -= lr / (1 - beta1^t) · m / (√v / √(1 - beta2^t) + eps)
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
}

/// `torch.optim.AdamW` (Loshchilov and Hutter 2017): [`Adam`] with `p -= lr · weight_decay · p` instead of the decay
/// in the gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
}

impl Sgd {
    /// Returns plain gradient descent.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the share of the last step's direction that is kept; 0 by default.
    #[must_use]
    pub fn with_momentum(self, momentum: f64) -> Self {
        Self { momentum, ..self }
    }

    /// Sets the share of the gradient that does not enter the momentum; 0 by default.
    #[must_use]
    pub fn with_dampening(self, dampening: f64) -> Self {
        Self { dampening, ..self }
    }

    /// Sets the factor of the parameter that is added to its gradient; 0 by default.
    #[must_use]
    pub fn with_weight_decay(self, weight_decay: f64) -> Self {
        Self { weight_decay, ..self }
    }

    /// Selects Nesterov's momentum.
    #[must_use]
    pub fn with_nesterov(self, nesterov: bool) -> Self {
        Self { nesterov, ..self }
    }
}

impl Default for Adam {
    fn default() -> Self {
        Self { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0 }
    }
}

impl Default for AdamW {
    fn default() -> Self {
        Self { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 1e-2 }
    }
}

/// Adds the constructors and setters that Adam and AdamW share.
macro_rules! adam {
    ($rule:ident, $decay:literal) => {
        impl $rule {
            /// Returns the rule with PyTorch's defaults.
            pub fn new() -> Self {
                Self::default()
            }

            /// Sets the decay rates of the two moments; 0.9 and 0.999 by default.
            #[must_use]
            pub fn with_betas(self, beta1: f64, beta2: f64) -> Self {
                Self { betas: (beta1, beta2), ..self }
            }

            /// Sets the number that keeps the divisor away from zero; 1e-8 by default.
            #[must_use]
            pub fn with_eps(self, eps: f64) -> Self {
                Self { eps, ..self }
            }

            #[doc = concat!("Sets the weight decay; ", $decay, " by default.")]
            #[must_use]
            pub fn with_weight_decay(self, weight_decay: f64) -> Self {
                Self { weight_decay, ..self }
            }
        }

        impl From<$rule> for Rule {
            fn from(rule: $rule) -> Self {
                Self::$rule(rule)
            }
        }
    };
}
adam!(Adam, "0");
adam!(AdamW, "0.01");

impl From<Sgd> for Rule {
    fn from(rule: Sgd) -> Self {
        Self::Sgd(rule)
    }
}

impl Rule {
    /// Checks the ranges that PyTorch's constructors check.
    pub(super) fn validate(&self) -> Result<()> {
        let at_least_0 = |argument, value: f64| check(argument, "a number of at least 0", value, value >= 0.0);
        let (betas, eps, weight_decay) = match *self {
            Self::Sgd(Sgd { momentum, dampening, weight_decay, nesterov }) => {
                at_least_0("momentum", momentum)?;
                at_least_0("weight_decay", weight_decay)?;
                let possible = !nesterov || momentum > 0.0 && dampening == 0.0;
                return check("nesterov", "momentum above 0 and no dampening", dampening, possible);
            }
            Self::Adam(Adam { betas, eps, weight_decay }) | Self::AdamW(AdamW { betas, eps, weight_decay }) => {
                (betas, eps, weight_decay)
            }
        };
        for beta in [betas.0, betas.1] {
            check("betas", "numbers from 0 to 1, without 1", beta, (0.0..1.0).contains(&beta))?;
        }
        at_least_0("eps", eps)?;
        at_least_0("weight_decay", weight_decay)
    }

    /// Returns the names of the arrays that the rule keeps for each parameter, which are PyTorch's.
    pub(super) const fn arrays(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd(_) => &["momentum_buffer"],
            Self::Adam(_) | Self::AdamW(_) => &["exp_avg", "exp_avg_sq"],
        }
    }

    /// Returns the kernel that runs the rule on a GPU.
    pub(super) const fn kernel(&self) -> OptimKernel {
        match self {
            Self::Sgd(_) => OptimKernel::Sgd,
            Self::Adam(_) | Self::AdamW(_) => OptimKernel::Adam,
        }
    }

    /// Returns the numbers of the rule for that kernel in step number `step`, counted from 1.
    pub(super) fn slot_params(&self, lr: f64, step: u64) -> SlotParams {
        let adam = |betas, eps| {
            let AdamStep::<f32> { beta1, beta2, step_size, second_correction, eps } =
                AdamStep::new(lr, betas, eps, step);
            SlotParams {
                rate: step_size,
                kept: 1.0,
                first_share: 1.0 - beta1,
                second_rate: beta2,
                second_share: 1.0 - beta2,
                correction: second_correction,
                eps,
                ..SlotParams::default()
            }
        };
        match *self {
            Self::Sgd(Sgd { momentum, dampening, weight_decay, nesterov }) => {
                let (first_rate, first_share) = if step == 1 { (0.0, 1.0) } else { (momentum, 1.0 - dampening) };
                let (of_gradient, of_first) = if nesterov { (1.0, momentum) } else { (0.0, 1.0) };
                SlotParams {
                    rate: of(lr),
                    decay: of(weight_decay),
                    first_rate: of(first_rate),
                    first_share: of(first_share),
                    of_gradient: of(of_gradient),
                    of_first: of(of_first),
                    ..SlotParams::default()
                }
            }
            Self::Adam(Adam { betas, eps, weight_decay }) => SlotParams { decay: of(weight_decay), ..adam(betas, eps) },
            Self::AdamW(AdamW { betas, eps, weight_decay }) => {
                SlotParams { kept: of(1.0 - lr * weight_decay), ..adam(betas, eps) }
            }
        }
    }

    /// Returns a parameter after a step, and what is kept for the next. `limited` clips each element of the gradient.
    pub(super) fn apply<F: Real>(
        &self,
        lr: f64,
        parameter: &[F],
        gradient: &[F],
        limited: impl Fn(F) -> F,
        before: Option<&Moments<F>>,
    ) -> Result<(Vec<F>, Moments<F>)> {
        let mut parameter = copied("a parameter", parameter)?;
        let mut moments = match before {
            Some(moments) => moments.try_clone()?,
            None => {
                let zeros = |_: &&str| zeroed("a moment", &[parameter.len()]);
                Moments { step: 0, arrays: self.arrays().iter().map(zeros).collect::<Result<_>>()? }
            }
        };
        moments.step = moments.step.saturating_add(1);
        // Compiled for each instruction set of the architecture, with the same bits, as no operation is fused.
        Arch::new().dispatch(|| self.update(lr, &mut parameter, gradient, limited, &mut moments));
        Ok((parameter, moments))
    }

    #[inline(always)]
    fn update<F: Real>(
        &self,
        lr: f64,
        parameter: &mut [F],
        gradient: &[F],
        limited: impl Fn(F) -> F,
        moments: &mut Moments<F>,
    ) {
        let elements = parameter.iter_mut().zip(gradient.iter().map(|&g| limited(g)));
        match (*self, moments.arrays.as_mut_slice()) {
            (Self::Sgd(rule), [buffers]) => {
                let (lr, decay, momentum): (F, F, F) = (of(lr), of(rule.weight_decay), of(rule.momentum));
                let undamped: F = of(1.0 - rule.dampening);
                let first = moments.step == 1;
                for ((p, g), buffer) in elements.zip(buffers) {
                    let g = g + decay * *p;
                    *buffer = if first { g } else { momentum * *buffer + undamped * g };
                    // Without momentum, the buffer is the gradient.
                    *p = *p - lr * if rule.nesterov { g + momentum * *buffer } else { *buffer };
                }
            }
            (Self::Adam(Adam { betas, eps, weight_decay }), [first, second]) => {
                let of_step: AdamStep<F> = AdamStep::new(lr, betas, eps, moments.step);
                let decay: F = of(weight_decay);
                for (((p, g), m), v) in elements.zip(first).zip(second) {
                    let g = g + decay * *p;
                    *p = of_step.apply(*p, g, m, v);
                }
            }
            (Self::AdamW(AdamW { betas, eps, weight_decay }), [first, second]) => {
                let of_step: AdamStep<F> = AdamStep::new(lr, betas, eps, moments.step);
                let kept: F = of(1.0 - lr * weight_decay);
                for (((p, g), m), v) in elements.zip(first).zip(second) {
                    *p = of_step.apply(*p * kept, g, m, v);
                }
            }
            // `Moments` are made for the rule, and checked when they are read from a file.
            _ => {}
        }
    }
}

/// The factors of a step of Adam.
struct AdamStep<F> {
    beta1: F,
    beta2: F,
    step_size: F,
    second_correction: F,
    eps: F,
}

impl<F: Real> AdamStep<F> {
    fn new(lr: f64, (beta1, beta2): (f64, f64), eps: f64, step: u64) -> Self {
        let correction = |beta: f64| 1.0 - beta.powf(step as f64);
        Self {
            beta1: of(beta1),
            beta2: of(beta2),
            step_size: of(lr / correction(beta1)),
            second_correction: of(correction(beta2).sqrt()),
            eps: of(eps),
        }
    }

    #[inline(always)]
    fn apply(&self, p: F, g: F, m: &mut F, v: &mut F) -> F {
        *m = *m + (g - *m) * (F::one() - self.beta1);
        *v = self.beta2 * *v + (F::one() - self.beta2) * g * g;
        p - self.step_size * *m / (v.sqrt() / self.second_correction + self.eps)
    }
}

fn of<F: Real>(value: f64) -> F {
    F::from_f64(value)
}

pub(super) fn check(argument: &'static str, expected: &'static str, got: f64, holds: bool) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Config { argument, expected, got: got.to_string() }) }
}
