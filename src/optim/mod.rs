//! Optimisers: what changes the parameters of layers, and of the program around them, by their gradients.

pub(crate) mod checkpoint;
mod moments;
pub(crate) mod rule;
pub(crate) mod step;

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, Result};
use crate::optim::moments::Moments;
use crate::optim::rule::{Rule, check};
use crate::optim::step::Step;
use crate::real::Real;

/// An optimiser: a rule ([`Sgd`](crate::Sgd), [`Adam`](crate::Adam) or [`AdamW`](crate::AdamW)), and what it keeps for
/// each parameter between its steps.
///
/// A step changes any number of layers and tensors together, each under a name of the program's choice, which is the
/// name of its state in [checkpoints](Self::save).
///
/// ```
/// use wgpu_rnn::{AdamW, Device, Lstm, LstmConfig, Optimizer, Tensor};
///
/// let mut lstm = Lstm::random(LstmConfig::new(3, 4), 0)?.to(&Device::cpu())?;
/// let mut head = Tensor::new([4], [0.1, -0.2, 0.3, 0.4])?; // the program's own: y = head · h
/// let mut optimizer = Optimizer::new(AdamW::new().with_weight_decay(1e-3))?;
///
/// let x = Tensor::new([5, 3], [0.5; 15])?; // [T, I]
/// for epoch in 0..3 {
///     let pass = lstm.forward_train(&x, None)?;
///     let h = pass.state().h.data();
///     let y: f32 = h.iter().zip(head.data()).map(|(h, w)| h * w).sum();
///     let error = y - 1.0; // the loss is error² / 2
///     let of_head = Tensor::new([4], h.iter().map(|h| error * h).collect::<Vec<_>>())?;
///     let mut of_state = pass.state().clone();
///     of_state.h = Tensor::new([1, 4], head.data().iter().map(|w| error * w).collect::<Vec<_>>())?;
///     of_state.c = Tensor::zeros([1, 4])?;
///
///     let gradients = pass.backward(None, &of_state)?;
///     let lr = 1e-2; // a schedule is the program's own
///     let mut step = optimizer.step(lr).clip_norm(1.0);
///     step.layer("lstm.", &mut lstm, &gradients).tensor("head", &mut head, &of_head);
///     let norm = step.run()?; // of all gradients together, before clipping
///     assert!(norm.is_finite());
/// }
/// let trained = lstm.layer(); // to save: trained.save_safetensors(path, "")
/// # assert_eq!(trained.layers().len(), 1);
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
pub struct Optimizer<F: Real = f32> {
    rule: Rule,
    moments: BTreeMap<String, Moments<F>>,
}

impl<F: Real> Optimizer<F> {
    /// Creates an optimiser that has not stepped yet.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a number that `torch.optim` rejects.
    pub fn new(rule: impl Into<Rule>) -> Result<Self> {
        let rule = rule.into();
        rule.validate()?;
        Ok(Self { rule, moments: BTreeMap::new() })
    }

    /// Returns the rule.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Changes the rule for later steps, as a schedule of momentum does; what is kept for each parameter stays.
    ///
    /// # Errors
    /// Those of [`new`](Self::new); [`Error::Unsupported`](crate::Error::Unsupported) for a rule that keeps other
    /// arrays, such as Adam after SGD.
    pub fn set_rule(&mut self, rule: impl Into<Rule>) -> Result<()> {
        let rule = rule.into();
        rule.validate()?;
        if rule.arrays() != self.rule.arrays() {
            let why = format!("the steps so far kept {:?}", self.rule.arrays());
            return Err(Error::Unsupported { what: format!("a change of {:?} to {rule:?}", self.rule), why });
        }
        self.rule = rule;
        Ok(())
    }

    /// Begins a step with the learning rate `lr`, which changes nothing until it is [run](Step::run).
    pub fn step(&mut self, lr: f64) -> Step<'_, F> {
        Step::new(self, check("lr", "a number of at least 0", lr, lr >= 0.0).map(|()| lr))
    }
}

/// Writes the rule and the number of parameters; numbers are not printed.
impl<F: Real> fmt::Debug for Optimizer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Optimizer({:?}, {} parameters)", self.rule, self.moments.len())
    }
}
